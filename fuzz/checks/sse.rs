//! What holds for the readers of answers whatever they read.

use agentops_gateway::protocol::{Answer, Protocol, Reader};

/// Reads the bytes after the first two as an answer: the first says which protocol's and whether it is a stream, the second
/// how it is cut into pieces. Panics where something does not hold.
pub fn check(data: &[u8]) {
    let [first, stride, bytes @ ..] = data else { return };
    let protocol = Protocol::ALL[usize::from(first % 4)];
    let streamed = first & 4 != 0;
    let (whole, output) = read(protocol, streamed, bytes, usize::MAX);
    let pieces = read(protocol, streamed, bytes, usize::from(*stride) + 1);
    assert_eq!((&whole, output), (&pieces.0, pieces.1), "the pieces make no difference");

    if let Some(usage) = whole.usage {
        let has_input = usage.input > 0 || usage.cache_read > 0 || usage.cache_write > 0;
        assert!(has_input, "a report without input is none");
        assert!(whole.cache_write_hour <= usage.cache_write, "a part is no more than the whole");
    }
    for name in [&whole.model, &whole.id, &whole.finish, &whole.tier, &whole.error].into_iter().flatten() {
        assert!(!name.is_empty() && name.len() <= 256, "a name is short");
    }
}

/// Reads in pieces. Wherever an event has ended the stream can be cut, and then it has ended.
fn read(protocol: Protocol, streamed: bool, bytes: &[u8], stride: usize) -> (Answer, u64) {
    let mut reader = Reader::new(protocol, streamed);
    let mut output = 0_u64;
    for piece in bytes.chunks(stride.min(bytes.len().max(1))) {
        let seen = reader.push(piece);
        output = output.saturating_add(seen.output_bytes);
        assert!(seen.boundary.is_none_or(|end| end <= piece.len()), "a boundary lies within the piece");
    }
    let ending = reader.cut();
    if !ending.is_empty() {
        let mut ended = Reader::new(protocol, true);
        ended.push(&ending);
        assert!(ended.answer().complete, "an ending of ours is an end");
    }
    (reader.answer(), output)
}
