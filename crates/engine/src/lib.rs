//! Arithmetic on tensors, forward and backward, on the CPU.
