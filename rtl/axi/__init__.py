"""AXI signatures and the small components that speak them."""
