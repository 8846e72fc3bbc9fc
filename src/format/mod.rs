//! Bytes to structure and back; where each byte lies. Never the values of tensors.
