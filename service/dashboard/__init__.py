"""The pages that people see: rendered here, of the same answers and by the same rules as the API's."""
