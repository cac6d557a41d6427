"""`vxl bench`: what the data side costs, what every part costs, and what became slower."""
