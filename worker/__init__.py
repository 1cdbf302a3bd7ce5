"""The agent on a GPU box: claims jobs over HTTP and evaluates them in a child process."""
