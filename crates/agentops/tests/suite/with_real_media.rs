//! The real agent programs behind `agentops with`, with a PDF and an image. What a program can read is counted and leaves as it
//! is, and the session goes on.

use std::path::Path;

use agentops_testkit::model::{ModelServer, ToolCall, Turn};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::real::{Program, programs, room, shell, with_each_program};
use crate::room::Room;
use crate::with_real::{server, with, words};

/// A page or an image of these tests counts as fewer tokens than this; its base64 would be ten times as many. That it counts as
/// at least what its provider makes of it cannot be seen here: a call is estimated from the report on the one before.
const TOKENS_MAX: u64 = 20_000;

/// A PDF of one page.
fn pdf(text: &str) -> String {
    let content = format!("BT /F1 24 Tf 72 700 Td ({text}) Tj ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let mut file = "%PDF-1.4\n".to_owned();
    let mut places = String::new();
    for (n, object) in objects.iter().enumerate() {
        places += &format!("{:010} 00000 n \n", file.len());
        file += &format!("{} 0 obj\n{object}\nendobj\n", n + 1);
    }
    let start = file.len();
    file + &format!(
        "xref\n0 6\n0000000000 65535 f \n{places}trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
    )
}

/// A grey image of 1,024 × 1,024 pixels, not compressed. Source: W3C, "Portable Network Graphics".
fn png() -> Vec<u8> {
    const SIDE: u32 = 1024;
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let checked = [kind, data].concat();
        let length = u32::try_from(data.len()).unwrap();
        [&length.to_be_bytes()[..], &checked, &crc32(&checked).to_be_bytes()].concat()
    };
    let side = SIDE.to_be_bytes();
    // One bit a pixel.
    let header = [&side[..], &side, &[1, 0, 0, 0, 0]].concat();
    // Each row has its filter in front: none.
    let row = [&[0][..], &[0b1010_1010; SIDE as usize / 8]].concat();
    let rows = row.repeat(SIDE as usize);
    let mut data = vec![0x78, 0x01];
    let blocks = rows.chunks(u16::MAX.into());
    let last = blocks.len() - 1;
    for (n, block) in blocks.enumerate() {
        let length = u16::try_from(block.len()).unwrap();
        data.extend([&[u8::from(n == last)][..], &length.to_le_bytes(), &(!length).to_le_bytes(), block].concat());
    }
    data.extend(adler32(&rows).to_be_bytes());
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &header), chunk(b"IDAT", &data), chunk(b"IEND", &[])].concat()
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
    })
}

fn adler32(bytes: &[u8]) -> u32 {
    let (a, b) = bytes.iter().fold((1, 0), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    b << 16 | a
}

/// A file that a person or a model gives to a program.
struct Media {
    name: &'static str,
    bytes: Vec<u8>,
}

impl Media {
    fn pdf() -> Self {
        Self { name: "doc.pdf", bytes: pdf("The retry limit is 7.").into_bytes() }
    }

    fn image() -> Self {
        Self { name: "shot.png", bytes: png() }
    }

    /// Whether a request carries the file.
    fn is_in(&self, body: &[u8]) -> bool {
        String::from_utf8_lossy(body).contains(&STANDARD.encode(&self.bytes))
    }
}

/// The program's tool that shows the model a file.
fn read(program: Program, name: &str) -> Turn {
    Turn::call(vec![match program {
        Program::Codex => ToolCall::Raw { name: "view_image".into(), input: json!({"path": name}) },
        _ => ToolCall::Read { path: name.into() },
    }])
}

/// What a person types to give the program a file with the task.
fn words_with(program: Program, server: &ModelServer, room: &Room, name: &str) -> Vec<String> {
    let mut words = words(program, server, room);
    match program {
        Program::Codex => words.extend(["-i", name].map(str::to_owned)),
        Program::OpenCode => words.extend(["-f", name].map(str::to_owned)),
        Program::Claude | Program::Gemini => {
            let task = words.iter_mut().find(|word| word.starts_with("TASK")).unwrap();
            task.push_str(&format!(" with @{name}"));
        }
    }
    words
}

/// What a person types to go on with the session before.
fn words_to_resume(program: Program, server: &ModelServer, room: &Room) -> Vec<String> {
    let mut words = words(program, server, room);
    match program {
        Program::Claude => words.push("-c".into()),
        Program::Codex => drop(words.splice(words.len() - 1.., ["resume", "--last", "TASK: do more"].map(str::to_owned))),
        Program::OpenCode => words.insert(1, "-c".into()),
        Program::Gemini => words.extend(["--resume", "latest"].map(str::to_owned)),
    }
    words
}

/// A session and a file.
struct Session {
    program: Program,
    media: Media,
    server: ModelServer,
    room: Room,
}

impl Session {
    /// The model will look at the file by the program's own tool, then do something else.
    fn new(program: Program, media: Media, bin: &Path) -> Self {
        let turns = vec![read(program, media.name), shell("echo went on > after.txt"), Turn::text("All is done.")];
        let server = server(turns);
        let room = room(program, bin, &server);
        std::fs::write(room.repo().join(media.name), &media.bytes).unwrap();
        Self { program, media, server, room }
    }

    /// Starts the program. Gives the estimates of the conversation's calls.
    fn start(&self, words: &[String]) -> Vec<u64> {
        let (ran, report) = with(&self.room, self.program, &[], words);
        let ran = ran.expect(0);
        assert!(self.room.repo().join("after.txt").exists(), "{ran:#?}");
        assert_eq!(report["totals"]["refused"], 0, "{report:#}");
        let calls = report["calls"].as_array().unwrap();
        let last = &calls.last().unwrap()["conversation"];
        let calls = calls.iter().filter(|call| call["conversation"] == *last);
        calls.map(|call| call["estimate"].as_u64().unwrap()).collect()
    }

    /// How many steps of the session carried the file.
    fn carriers(&self) -> usize {
        let bodies = self.server.requests().into_iter().filter(|record| record.main()).filter_map(|record| record.body);
        bodies.filter(|body| self.media.is_in(body)).count()
    }
}

/// A person gives the image with the task, and the model looks at it again.
fn sees_an_image(program: Program) {
    let Some(bin) = programs() else { return };
    let session = Session::new(program, Media::image(), &bin);
    let estimates = session.start(&words_with(program, &session.server, &session.room, session.media.name));
    assert!(estimates[1] < estimates[0] + TOKENS_MAX, "{estimates:?}");
    assert_eq!(session.carriers(), 3);
}

/// The model reads a PDF, and a later start goes on with the session.
fn reads_a_small_pdf(program: Program) {
    let Some(bin) = programs() else { return };
    let session = Session::new(program, Media::pdf(), &bin);
    let estimates = session.start(&words(program, &session.server, &session.room));
    assert!(estimates[1] < estimates[0] + TOKENS_MAX, "{estimates:?}");
    assert_eq!(session.carriers(), 2);
    session.start(&words_to_resume(program, &session.server, &session.room));
    assert_eq!(session.carriers(), 3);
}

with_each_program! {
    claude_code_sees_an_image_and_goes_on: sees_an_image(Claude);
    codex_sees_an_image_and_goes_on: sees_an_image(Codex);
    opencode_sees_an_image_and_goes_on: sees_an_image(OpenCode);
    gemini_sees_an_image_and_goes_on: sees_an_image(Gemini);
    claude_code_reads_a_small_pdf_and_goes_on: reads_a_small_pdf(Claude);
    opencode_reads_a_small_pdf_and_goes_on: reads_a_small_pdf(OpenCode);
    gemini_reads_a_small_pdf_and_goes_on: reads_a_small_pdf(Gemini);
}

/// Codex reads no PDF: in place of a person's file the model gets a remark, and in place of its tool's image an error.
#[test]
fn codex_tells_the_model_that_a_pdf_is_no_image_and_goes_on() {
    let Some(bin) = programs() else { return };
    let session = Session::new(Program::Codex, Media::pdf(), &bin);
    session.start(&words_with(session.program, &session.server, &session.room, session.media.name));
    assert_eq!(session.carriers(), 0);
    let last = session.server.requests().pop().unwrap().body.unwrap();
    let last = String::from_utf8_lossy(&last);
    for remark in ["image content omitted because it could not be processed", "unable to process image"] {
        assert!(last.contains(remark), "no `{remark}` in {last}");
    }
}
