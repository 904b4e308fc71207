"""`xmodal`: one module per noun."""
