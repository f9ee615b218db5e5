"""Which hidden settings reproduce known logits."""
