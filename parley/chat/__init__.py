"""What is a turn? The words, the ports and the loop; knows no framework and no vendor."""
