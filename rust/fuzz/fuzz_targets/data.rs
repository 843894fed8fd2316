//! Content framing: any split of the input gives the same end and the same content.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smtpx_core::data::{DataDecoder, Flaw, Newlines, Progress, dot_stuff, dot_unstuff};

type Outcome = (Progress, Option<Result<Vec<u8>, Flaw>>);

fn run(newlines: Newlines, limit: usize, input: &[u8], piece: usize) -> Outcome {
    let mut decoder = DataDecoder::new(newlines, limit);
    let mut fed = 0;
    for chunk in input.chunks(piece) {
        match decoder.feed(chunk) {
            Progress::More => fed += chunk.len(),
            Progress::End { consumed } => {
                return (Progress::End { consumed: fed + consumed }, Some(decoder.finish()));
            }
            Progress::Overrun => return (Progress::Overrun, None),
        }
    }
    (Progress::More, None)
}

fuzz_target!(|input: &[u8]| {
    for newlines in [Newlines::Reject, Newlines::Normalize] {
        for limit in [8, usize::MAX] {
            let whole = run(newlines, limit, input, input.len().max(1));
            for piece in [1, 2, 7] {
                assert_eq!(run(newlines, limit, input, piece), whole);
            }
        }
    }
    assert_eq!(dot_unstuff(&dot_stuff(input)), input);
});
