"""What a text says, without how it says it: phrases, their attributes, and whether they are there."""
