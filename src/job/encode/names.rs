//! What names of tensors and files say.

/// Whether a word is part of a name. By bytes: the standard library's search for a text is three kilobytes of code that
/// nothing else needs.
pub(in crate::job) fn says(name: &str, word: &[u8]) -> bool {
    name.as_bytes().windows(word.len()).any(|w| w == word)
}
