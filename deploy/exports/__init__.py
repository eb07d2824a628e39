"""From a loaded model to a folder that other tools read: tensors, config, processor, chat template, adapters."""
