"""What is done to a service's data besides serving it: back-up, restore, examination. By people, on its machine."""
