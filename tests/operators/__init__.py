"""PyTorch's operators as layers: for a sample of PyTorch's, the layer text and the tensors that compute the same."""
