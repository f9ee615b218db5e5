"""Files that torch saves: zip and legacy pickles, and folders of torch.distributed.checkpoint."""
