"""Who is calling? One principal for every surface."""
