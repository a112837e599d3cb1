//! What of an item is not text.

use agentops_core::models::ImageFamily;

use super::*;

fn read_item(protocol: Protocol, item: &str) -> Media {
    media(protocol, BodyPart::Item, item.as_bytes())
}

/// Bytes of data and tokens.
pub(super) fn of(protocol: Protocol, item: &Value) -> (u64, u64) {
    let media = read_item(protocol, &item.to_string());
    assert_eq!(media.uncountable, None, "{item}");
    (media.data_bytes(), media.tokens + media.images.of(ImageFamily::Unknown))
}

const NONE: (u64, u64) = (0, 0);
/// Begins as a PNG does.
const DATA: &str = "iVBORw0KGgoAAAAN";
const LENGTH: u64 = DATA.len() as u64;

#[test]
fn text_has_none_even_where_it_speaks_of_media() {
    let spoken = json!({"type": "image", "source": {"type": "base64", "data": DATA}}).to_string();
    for protocol in Protocol::ALL {
        let part = json!({"type": "text", "text": spoken});
        assert_eq!(of(protocol, &json!({"role": "user", "content": [part.clone()], "parts": [part]})), NONE);
        assert_eq!(of(protocol, &json!({"role": "user", "content": spoken})), NONE);
    }
    // What the model wrote into a tool's input is text, whatever it looks like.
    let input = json!({"type": "image", "source": {"type": "base64", "data": DATA}});
    let call = json!({"role": "assistant", "content": [{"type": "tool_use", "input": {"content": [input]}}]});
    assert_eq!(of(Protocol::Messages, &call), NONE);
}

#[test]
fn images_have_a_bound_and_their_data_is_no_text() {
    let claude = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}});
    let bound = 5000;
    assert_eq!(of(Protocol::Messages, &json!({"role": "user", "content": [claude]})), (LENGTH, bound));
    let result =
        json!({"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "x"}, claude]}]});
    assert_eq!(of(Protocol::Messages, &result), (LENGTH, bound));
    let by_address = json!({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}});
    assert_eq!(of(Protocol::Messages, &json!({"role": "user", "content": [by_address]})), (0, bound));

    let url = format!("data:image/png;base64,{DATA}");
    let length = url.len() as u64;
    let shown = json!({"type": "input_image", "image_url": url});
    assert_eq!(of(Protocol::Responses, &json!({"type": "message", "content": [shown]})), (length, 10_000));
    assert_eq!(
        of(Protocol::Responses, &json!({"type": "function_call_output", "output": [shown, shown]})),
        (2 * length, 20_000)
    );
    let screen = json!({"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": url}});
    assert_eq!(of(Protocol::Responses, &screen), (length, 10_000));
    let chat = json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]});
    assert_eq!(of(Protocol::Chat, &chat), (length, 10_000));

    for (inline, kind) in [("inlineData", "mimeType"), ("inline_data", "mime_type")] {
        let part = json!({inline: {kind: "image/png", "data": DATA}});
        assert_eq!(of(Protocol::Gemini, &json!({"parts": [part]})), (LENGTH, 24 * 258));
        let response = json!({"functionResponse": {"name": "f", "response": {}, "parts": [part]}});
        assert_eq!(of(Protocol::Gemini, &json!({"parts": [response]})), (LENGTH, 24 * 258));
    }
}

#[test]
fn b1_what_is_not_in_the_request_is_refused_by_its_name() {
    let block = |block: Value| (Protocol::Messages, json!({"role": "user", "content": [block]}));
    let chat = |part: Value| (Protocol::Chat, json!({"role": "user", "content": [part]}));
    let input = |part: Value| (Protocol::Responses, json!({"role": "user", "content": [part]}));
    let part = |part: Value| (Protocol::Gemini, json!({"role": "user", "parts": [part]}));
    let by_address = json!({"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}});
    let by_id = json!({"type": "document", "source": {"type": "file", "file_id": "f"}});
    let fetched = json!({"type": "web_fetch_tool_result", "tool_use_id": "t",
        "content": {"type": "web_fetch_result", "url": "u", "content": by_id}});
    let film = json!({"fileData": {"mimeType": "image/png", "fileUri": "u"}});
    let cases = [
        (block(by_address.clone()), Uncountable::Address),
        (block(by_id.clone()), Uncountable::FileId),
        (block(fetched), Uncountable::FileId),
        (block(json!({"type": "tool_result", "content": [by_id]})), Uncountable::FileId),
        (block(json!({"type": "tool_result", "content": by_address})), Uncountable::Address),
        (block(json!({"type": null, "source": {"type": "url", "url": "u"}})), Uncountable::Address),
        (input(json!({"type": "input_file", "file_id": "f"})), Uncountable::FileId),
        (input(json!({"type": "input_file", "file_url": "https://example.com/a.pdf"})), Uncountable::Address),
        (input(json!({"type": "input_video", "video_url": "https://example.com/a.mp4"})), Uncountable::Address),
        ((Protocol::Responses, json!({"type": "item_reference", "id": "i"})), Uncountable::ItemReference),
        ((Protocol::Responses, json!({"type": null, "id": "i"})), Uncountable::ItemReference),
        ((Protocol::Responses, json!({"id": "i"})), Uncountable::ItemReference),
        (chat(json!({"type": "file", "file": {"file_id": "f"}})), Uncountable::FileId),
        (chat(json!({"type": "document_url", "document_url": "https://example.com/a.pdf"})), Uncountable::Address),
        (chat(json!({"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}})), Uncountable::Address),
        (chat(json!({"type": "audio_url", "audio_url": {"url": "https://example.com/a.mp3"}})), Uncountable::Address),
        (chat(by_id.clone()), Uncountable::FileId),
        ((Protocol::Chat, json!({"role": "assistant", "audio": {"id": "a"}})), Uncountable::SpokenAnswer),
        (chat(json!({"type": "file", "file": {"url": "https://example.com/a.pdf"}})), Uncountable::Address),
        (chat(json!({"type": "file", "file": {"fileData": "https://example.com/a.pdf"}})), Uncountable::Address),
        (chat(json!({"type": "file", "file": {"fileId": "f"}})), Uncountable::FileId),
        (chat(json!({"type": "document", "document": {"file_data": "gs://a"}})), Uncountable::Address),
        (chat(json!({"type": "document", "fileUri": "gs://a"})), Uncountable::Address),
        (chat(json!({"type": "document", "url": {"url": "https://example.com/a.pdf"}})), Uncountable::Address),
        (input(json!({"type": "input_document", "document": {"file_uri": "gs://a"}})), Uncountable::Address),
        (chat(json!({"type": "input_audio", "input_audio": {"url": "https://example.com/a.wav"}})), Uncountable::Address),
        (part(film.clone()), Uncountable::Address),
        (part(json!({"file_data": {"file_uri": "u"}})), Uncountable::Address),
        (part(json!({"functionResponse": {"name": "f", "response": {}, "parts": film}})), Uncountable::Address),
        ((Protocol::Gemini, json!({"parts": film})), Uncountable::Address),
    ];
    for ((protocol, item), why) in cases {
        assert_eq!(read_item(protocol, &item.to_string()).uncountable, Some(why), "{item}");
    }
}

#[test]
fn b1_an_address_in_the_place_of_data_is_refused() {
    for address in [
        "https://example.com/a.pdf",
        "HTTPS://example.com/a.pdf",
        " https://example.com/a.pdf",
        "//example.com/a.pdf",
        "gs://bucket/a",
        "gs:a",
        "example.com/a.pdf",
        " data:application/pdf;base64,QQ==",
    ] {
        let source = json!({"type": "base64", "media_type": "application/pdf", "data": address});
        let file = json!({"filename": "a.pdf", "file_data": address});
        let cases = [
            (Protocol::Messages, json!({"content": [{"type": "document", "source": source}]})),
            (Protocol::Responses, json!({"content": [{"type": "input_file", "file_data": address}]})),
            (Protocol::Chat, json!({"content": [{"type": "file", "file": file}]})),
            (Protocol::Chat, json!({"content": [{"type": "input_audio", "input_audio": {"data": address}}]})),
            (Protocol::Responses, json!({"content": [{"type": "input_audio", "input_audio": {"data": address}}]})),
            (Protocol::Gemini, json!({"parts": [{"inlineData": {"mimeType": "application/pdf", "data": address}}]})),
        ];
        for (protocol, item) in cases {
            let why = read_item(protocol, &item.to_string()).uncountable;
            assert_eq!(why, Some(Uncountable::Address), "{address}, {protocol:?}");
        }
    }
    // Escapes hide nothing, and data may have them.
    let escaped = r#"{"content":[{"type":"file","file":{"file_data":"https\u003a\/\/a"}}]}"#;
    assert_eq!(read_item(Protocol::Chat, escaped).uncountable, Some(Uncountable::Address));
    // Sound in frames begins as an address without a scheme does.
    let sound = base64(&[&b"\xff\xfb\x90\x64"[..], &[0; 600]].concat()).replace('/', "\\/");
    let item = format!(r#"{{"content":[{{"type":"input_audio","input_audio":{{"data":"{sound}","format":"mp3"}}}}]}}"#);
    assert_eq!(read_item(Protocol::Chat, &item).uncountable, None);
}

#[test]
fn b1_media_outside_the_list_of_messages_are_found() {
    let film = json!({"parts": {"fileData": {"fileUri": "u"}}}).to_string();
    let refers = |protocol, key: &str, value: &str| media(protocol, BodyPart::Member(key.as_bytes()), value.as_bytes());
    for key in ["systemInstruction", "system_instruction", "contents"] {
        assert_eq!(refers(Protocol::Gemini, key, &film).uncountable, Some(Uncountable::Address), "{key}");
    }
    let document = json!([{"type": "document", "source": {"type": "file", "file_id": "f"}}]).to_string();
    assert_eq!(refers(Protocol::Messages, "system", &document).uncountable, Some(Uncountable::FileId));
    let one = json!({"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}).to_string();
    assert_eq!(refers(Protocol::Responses, "input", &one).uncountable, Some(Uncountable::FileId));
}

/// A PDF with this text on each of its pages, uncompressed.
fn pdf_of(pages: usize, text: &str) -> Vec<u8> {
    use std::fmt::Write;
    let kids: Vec<String> = (0..pages).map(|n| format!("{} 0 R", n + 3)).collect();
    let mut file = format!(
        "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[{}]/Count {pages}>>endobj\n",
        kids.join(" ")
    );
    for n in 0..pages {
        let content = pages + 3 + n;
        let stream = format!("BT /F1 12 Tf ({text}) Tj ET");
        write!(
            file,
            "{} 0 obj<</Type/Page/Parent 2 0 R/Contents {content} 0 R>>endobj\n\
             {content} 0 obj<</Length {}>>stream\n{stream}\nendstream endobj\n",
            n + 3,
            stream.len()
        )
        .unwrap();
    }
    (file + "trailer<</Root 1 0 R>>").into_bytes()
}

pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * at) & 63) as usize] as char;
            text.push(if at <= chunk.len() { digit } else { '=' });
        }
    }
    text
}

/// The same file in each protocol.
pub(super) fn as_document(file: &[u8]) -> [(Protocol, Value); 4] {
    let data = base64(file);
    let address = format!("data:application/pdf;base64,{data}");
    let source = json!({"type": "base64", "media_type": "application/pdf", "data": data});
    [
        (Protocol::Messages, json!({"content": [{"type": "document", "source": source}]})),
        (Protocol::Responses, json!({"content": [{"type": "input_file", "filename": "a.pdf", "file_data": address}]})),
        (Protocol::Chat, json!({"content": [{"type": "file", "file": {"filename": "a.pdf", "file_data": address}}]})),
        (Protocol::Gemini, json!({"parts": [{"inlineData": {"mimeType": "application/pdf", "data": data}}]})),
    ]
}

#[test]
fn a_small_pdf_within_the_request_is_counted_by_its_pages() {
    for ((protocol, item), page) in
        as_document(&pdf_of(2, "The retry limit is 7.")).into_iter().zip([8000, 13_000, 13_000, 5240])
    {
        let (_, tokens) = of(protocol, &item);
        assert_eq!(tokens, 2 * page, "{protocol:?}");
    }
    let dense = pdf_of(1, &"word ".repeat(20_000));
    for (protocol, item) in as_document(&dense) {
        assert!(of(protocol, &item).1 >= 100_000, "{protocol:?}: the text that a page shows counts");
    }
}

pub(super) fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

/// As most programs write it: compressed, and a line for each word around a stream. Each such file counted as a thousand pages.
#[test]
fn a_compressed_pdf_is_counted_by_its_pages() {
    let mut file = b"%PDF-1.5\n1 0 obj\n<</Type/Catalog/Pages 2 0 R>>\nendobj\n2 0 obj\n<</Type/Pages/Kids[3 0 R 5 0 R]/Count 2>>\nendobj\n"
        .to_vec();
    for page in [3, 5] {
        let data = deflated(b"BT /F1 12 Tf (The retry limit is 7.) Tj ET");
        let head = format!(
            "{page} 0 obj\n<</Type/Page/Parent 2 0 R/Contents {0} 0 R>>\nendobj\n{0} 0 obj\n<</Filter/FlateDecode/Length {1}>>\nstream\n",
            page + 1,
            data.len()
        );
        file.extend([head.as_bytes(), &data, b"\nendstream\nendobj\n"].concat());
    }
    file.extend(b"trailer\n<</Root 1 0 R>>\n");
    for ((protocol, item), page) in as_document(&file).into_iter().zip([8000, 13_000, 13_000, 5240]) {
        assert_eq!(of(protocol, &item).1, 2 * page, "{protocol:?}");
    }
}

/// The work for a file is bounded. Each of these took minutes, in which no lane was served.
#[test]
fn b1_a_pdf_that_is_built_to_be_slow_counts_as_the_most() {
    let bomb = [&b"1 0 obj<</Filter/FlateDecode>>stream\n"[..], &deflated(&vec![b' '; 8 << 20]), b"\nendstream\n"].concat();
    for (what, part, times) in [
        ("streams without an end", b"stream\nx".to_vec(), 500_000),
        ("many streams", b"stream\n\nendstream\n".to_vec(), 100_000),
        ("streams that grow", bomb, 200),
        ("lists of pages without an end", b"/Kids[".to_vec(), 500_000),
    ] {
        let file = [&b"%PDF-1.4\n"[..], &part.repeat(times)].concat();
        let item = &as_document(&file)[3].1;
        assert!(of(Protocol::Gemini, item).1 >= 1_000 * 5_240, "{what}");
    }
    // Lists that differ are looked up, not compared with each other.
    let lists: String = (0..200_000).map(|n| format!("/Kids[{n} 0 R]")).collect();
    let item = &as_document(format!("%PDF-1.4\n{lists}").as_bytes())[3].1;
    assert!(of(Protocol::Gemini, item).1 >= 1_000 * 5_240);
}

#[test]
fn b1_a_pdf_that_may_hide_pages_counts_as_the_most() {
    let one = String::from_utf8(pdf_of(1, "x")).unwrap();
    let objects = "<</Type/Page/Parent 2 0 R>> ".repeat(400);
    let in_stream = |dictionary: &str, data: Vec<u8>| {
        let stream = format!("9 0 obj<</Type/ObjStm/N 400/First 9/Filter/FlateDecode{dictionary}>>stream\r\n");
        [one.as_bytes(), stream.as_bytes(), &data, b"\nendstream endobj"].concat()
    };
    let cases = [
        ("an encrypted file", one.replace("trailer<<", "trailer<</Encrypt 9 0 R").into_bytes()),
        ("a page that is used twice", one.replace("[3 0 R]", "[3 0 R 3 0 R]").into_bytes()),
        ("a list that stands elsewhere", one.replace("[3 0 R]", " 8 0 R").into_bytes()),
        ("an escaped name", one.replace("/Kids[3 0 R]", "/K#69ds[3 0 R 3 0 R]").into_bytes()),
        ("another compression", one.replace("<</Length", "<</Filter/LZWDecode/Length").into_bytes()),
        ("altered objects", in_stream("/DecodeParms<</Predictor 12>>", deflated(b"x"))),
        ("compressed twice", in_stream("/Filter[/FlateDecode/FlateDecode]", deflated(b"x"))),
        ("a broken stream", in_stream("", b"not compressed".to_vec())),
        ("a bomb", in_stream("", deflated(&vec![b' '; 40 << 20]))),
    ];
    for (what, file) in cases {
        for (protocol, item) in as_document(&file) {
            assert!(of(protocol, &item).1 >= 1_000 * 5_240, "{what}, {protocol:?}");
        }
    }
    let packed = in_stream("", deflated(objects.as_bytes()));
    assert!(packed.len() < 1_000, "four hundred pages are a few bytes");
    for (protocol, item) in as_document(&packed) {
        assert!(of(protocol, &item).1 >= 400 * 5_240, "{protocol:?}");
    }
}

#[test]
fn b1_a_file_is_what_its_bytes_say() {
    let film = base64(&[&b"\0\0\0\x18ftypisom"[..], &[7; 30_000]].concat());
    let pdf = base64(&pdf_of(5, "x"));
    for kind in ["image/png", "audio/mp3", "video/mp4"] {
        let inline = |data: &str| json!({"parts": [{"inlineData": {"mimeType": kind, "data": data}}]});
        assert!(of(Protocol::Gemini, &inline(&film)).1 >= 30_000, "{kind}");
        assert!(of(Protocol::Gemini, &inline(&pdf)).1 >= 5 * 5_240, "{kind}");
    }
    let shown = json!({"content": [{"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{pdf}")}}]});
    assert!(of(Protocol::Chat, &shown).1 >= 5 * 13_000);
    // Escapes in the data hide nothing.
    let escaped = pdf.replace('J', "\\u004a");
    let item = format!(r#"{{"parts":[{{"inline_data":{{"mime_type":"application\/pdf","data":"{escaped}"}}}}]}}"#);
    let media = read_item(Protocol::Gemini, &item);
    assert_eq!((media.tokens, media.images.of(ImageFamily::Gemini)), (5 * 3_000, 5 * 2_240));
    // A sample a second: few bytes, many seconds.
    let mut slow = [&b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x01\0\0\0\x01\0\0\0\x01\0\x08\0data\0\0\0\0"[..]].concat();
    slow.resize(3_044, 0);
    let sound = json!({"parts": [{"inlineData": {"mimeType": "audio/wav", "data": base64(&slow)}}]});
    assert!(of(Protocol::Gemini, &sound).1 >= 3_000 * 32);
}

/// A provider that goes by the declared type reads each of these files as text.
#[test]
fn b1_a_file_that_is_declared_as_text_counts_as_text() {
    let text = "word ".repeat(20_000);
    let wave = &b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data\0\0\0\0"[..];
    let beginnings = [
        ("an image", &b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..]),
        ("a drawing", b"GIF89a\x10\0\x10\0\0\0\0"),
        ("sound", b"ID3\x04\0\0\0\0\0\0\xff\xfb\x90\0"),
        ("waves", wave),
        ("a PDF", &pdf_of(1, "x")),
    ];
    for (what, beginning) in beginnings {
        let data = base64(&[beginning, text.as_bytes()].concat());
        let inline = |kind: &str| json!({"inlineData": {"mimeType": kind, "data": data}});
        let source = |kind: &str| json!({"type": "base64", "media_type": kind, "data": data});
        let address = |kind: &str| format!("data:{kind};base64,{data}");
        let file = |kind: &str, name: &str| json!({"filename": name, "file_data": address(kind)});
        for kind in [
            "text/plain",
            "text/html;charset=utf-8",
            "Application/JSON",
            "image/svg",
            "image/png, text/plain",
            "application/x-new",
            "",
        ] {
            let response = json!({"functionResponse": {"name": "f", "response": {}, "parts": [inline(kind)]}});
            let shown = json!({"type": "input_image", "image_url": address(kind)});
            let mut named = file(kind, "a.txt");
            named["type"] = "input_file".into();
            let cases = [
                (Protocol::Gemini, json!({"parts": [inline(kind)]})),
                (Protocol::Gemini, json!({"parts": [response]})),
                (Protocol::Messages, json!({"content": [{"type": "document", "source": source(kind)}]})),
                (Protocol::Chat, json!({"content": [{"type": "file", "file": file(kind, "a")}]})),
                (Protocol::Responses, json!({"content": [named]})),
                (Protocol::Responses, json!({"type": "function_call_output", "output": [named]})),
            ];
            for (protocol, item) in cases {
                assert!(of(protocol, &item).1 >= 100_000, "{what} as `{kind}`, {protocol:?}");
            }
            if !kind.is_empty() {
                let item = json!({"content": [shown]});
                assert!(of(Protocol::Responses, &item).1 >= 100_000, "{what} as `{kind}`, shown");
                let item = json!({"content": [{"type": "image", "source": source(kind)}]});
                assert!(of(Protocol::Messages, &item).1 >= 100_000, "{what} as `{kind}`, an image");
            }
        }
        let long = format!("{}.pdf{}.txt", "a".repeat(252), "a".repeat(100));
        for (kind, name) in [
            ("application/pdf", "a.py"),
            ("application/pdf", &long),
            ("image/png", "a.txt"),
            ("audio/wav", "a.md"),
            ("audio/mp3", "a.pdf"),
        ] {
            let item = json!({"content": [{"type": "file", "file": file(kind, name)}]});
            assert!(of(Protocol::Chat, &item).1 >= 100_000, "{what} as `{kind}`, named {name}");
        }
    }
}

/// Its name may be missing or be no file name.
#[test]
fn a_pdf_that_is_declared_as_one_counts_by_its_pages() {
    let data = base64(&pdf_of(1, "x"));
    for (kind, name) in [
        ("application/pdf", "a.pdf"),
        ("application/pdf", "Report v1.2"),
        ("Application/PDF", "no extension. Really"),
        ("application/octet-stream", "A.PDF"),
    ] {
        let file = json!({"filename": name, "file_data": format!("data:{kind};base64,{data}")});
        assert_eq!(of(Protocol::Chat, &json!({"content": [{"type": "file", "file": file}]})).1, 13_000, "{kind}, {name}");
    }
    let lines = data.as_bytes().chunks(76).map(|line| str::from_utf8(line).unwrap()).collect::<Vec<_>>().join("\r\n");
    let file = json!({"filename": "a.pdf", "file_data": lines});
    assert_eq!(of(Protocol::Chat, &json!({"content": [{"type": "file", "file": file}]})).1, 13_000, "as mail has it");
}

#[test]
fn what_bytes_can_bound_is_bounded() {
    let plain = base64(&b"plain text. ".repeat(50));
    let address = format!("data:text/plain;base64,{plain}");
    let (data, tokens) = of(Protocol::Responses, &json!({"content": [{"type": "input_file", "file_data": address}]}));
    assert_eq!((data, tokens), (address.len() as u64, address.len() as u64));
    let text = json!({"parts": [{"inlineData": {"mimeType": "text/plain", "data": plain}}]});
    assert_eq!(of(Protocol::Gemini, &text), (plain.len() as u64, plain.len() as u64));
    let text = json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain text"}});
    assert_eq!(of(Protocol::Messages, &json!({"content": [text]})), NONE);
    let sound = base64(&[&b"\xff\xfb\x90\x00"[..], &[0; 59_996]].concat());
    let chat = json!({"content": [{"type": "input_audio", "input_audio": {"data": sound, "format": "mp3"}}]});
    assert_eq!(of(Protocol::Chat, &chat), (80_000, 1201));
}

#[test]
fn sealed_reasoning_is_no_text_and_has_a_bound() {
    let sealed = "A".repeat(1200);
    let bound = (1200, 300);
    assert_eq!(
        of(Protocol::Messages, &json!({"content": [{"type": "thinking", "thinking": "x", "signature": sealed}]})),
        bound
    );
    assert_eq!(of(Protocol::Messages, &json!({"content": [{"type": "redacted_thinking", "data": sealed}]})), bound);
    assert_eq!(of(Protocol::Responses, &json!({"type": "reasoning", "summary": [], "encrypted_content": sealed})), bound);
    assert_eq!(of(Protocol::Gemini, &json!({"parts": [{"functionCall": {}, "thoughtSignature": sealed}]})), bound);
}

#[test]
fn b1_a_disguise_is_refused() {
    let items = [
        (Protocol::Messages, r#"{"content":[{"type":"docum\u0065nt","source":{"type":"url"}}]}"#),
        (Protocol::Messages, r#"{"cont\u0065nt":[{"type":"document","source":{"type":"url"}}]}"#),
        (Protocol::Messages, r#"{"content":[{"type":"document","sourc\u0065":{"type":"url"}}]}"#),
        (Protocol::Responses, r#"{"type":"item_ref\u0065rence","id":"i"}"#),
        (Protocol::Responses, r#"{"\u0069d":"i"}"#),
        (Protocol::Chat, r#"{"content":[{"typ\u0065":"file","file":{"file_id":"f"}}]}"#),
        (Protocol::Gemini, r#"{"parts":[{"fil\u0065Data":{"fileUri":"u"}}]}"#),
        (Protocol::Gemini, r#"{"p\u0061rts":[{"fileData":{"fileUri":"u"}}]}"#),
    ];
    for (protocol, item) in items {
        assert_eq!(read_item(protocol, item).uncountable, Some(Uncountable::EscapedName), "{item}");
    }
    let twice = [
        (Protocol::Messages, r#"{"content":[{"type":"document","source":{"type":"url"},"content":[]}],"content":[]}"#),
        (Protocol::Messages, r#"{"content":[{"type":"document","source":{"file_id":"f"},"type":"text"}]}"#),
        (Protocol::Responses, r#"{"type":"message","id":"i","type":null}"#),
        (Protocol::Chat, r#"{"content":[{"type":"file","type":"text","file":{"file_data":"f"}}]}"#),
        (Protocol::Gemini, r#"{"parts":[{"inlineData":{"data":"x"}}],"parts":[]}"#),
    ];
    for (protocol, item) in twice {
        assert_eq!(read_item(protocol, item).uncountable, Some(Uncountable::RepeatedKey), "{item}");
    }
    // What a tool is given may have any keys.
    let input = r#"{"content":[{"type":"tool_use","input":{"s\u006furce":1,"\u00e9":2}}]}"#;
    assert_eq!(read_item(Protocol::Messages, input).uncountable, None);
}

#[test]
fn b1_a_hidden_limit_is_refused() {
    for config in [r#"{"max\u004futputTokens":9}"#, r#"{"maxOutputTokens":1,"max\u004futputTokens":9}"#] {
        let body = format!(r#"{{"generationConfig":{config}}}"#);
        let layout = Layout::of(body.as_bytes(), "contents").unwrap();
        assert!(head(Protocol::Gemini, body.as_bytes(), &layout.fields).is_err(), "{body}");
    }
}
