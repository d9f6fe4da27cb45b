//! The transformer: tokens in, logits out; cache, sampling, and the batch that decodes many sequences at once.
