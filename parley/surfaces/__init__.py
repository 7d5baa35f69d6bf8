"""How does a message come in, and a stream go out? Every surface is a reader of turns."""
