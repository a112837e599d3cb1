//! What of an item is not text.

use super::*;

fn of(protocol: Protocol, item: &Value) -> (u64, Option<u64>) {
    let media = media(protocol, item.to_string().as_bytes());
    (media.data_bytes, media.tokens)
}

const NONE: (u64, Option<u64>) = (0, Some(0));
const DATA: &str = "QUJDREVGR0hJSktM";
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
    let bound = Some(5000);
    assert_eq!(of(Protocol::Messages, &json!({"role": "user", "content": [claude]})), (LENGTH, bound));
    let result =
        json!({"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "x"}, claude]}]});
    assert_eq!(of(Protocol::Messages, &result), (LENGTH, bound));
    let by_address = json!({"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}});
    assert_eq!(of(Protocol::Messages, &json!({"role": "user", "content": [by_address]})), (0, bound));

    let url = format!("data:image/png;base64,{DATA}");
    let length = url.len() as u64;
    let shown = json!({"type": "input_image", "image_url": url});
    assert_eq!(of(Protocol::Responses, &json!({"type": "message", "content": [shown]})), (length, Some(10_000)));
    assert_eq!(
        of(Protocol::Responses, &json!({"type": "function_call_output", "output": [shown, shown]})),
        (2 * length, Some(20_000))
    );
    let screen = json!({"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": url}});
    assert_eq!(of(Protocol::Responses, &screen), (length, Some(10_000)));
    let chat = json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]});
    assert_eq!(of(Protocol::Chat, &chat), (length, Some(10_000)));

    for (inline, kind) in [("inlineData", "mimeType"), ("inline_data", "mime_type")] {
        let part = json!({inline: {kind: "image/png", "data": DATA}});
        assert_eq!(of(Protocol::Gemini, &json!({"parts": [part]})), (LENGTH, Some(24 * 258)));
        let response = json!({"functionResponse": {"name": "f", "response": {}, "parts": [part]}});
        assert_eq!(of(Protocol::Gemini, &json!({"parts": [response]})), (LENGTH, Some(24 * 258)));
    }
}

#[test]
fn what_may_hold_any_number_of_pages_has_no_bound() {
    let pdf = json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": DATA}});
    assert_eq!(of(Protocol::Messages, &json!({"content": [pdf]})), (LENGTH, None));
    let by_id = json!({"type": "document", "source": {"type": "file", "file_id": "f"}});
    assert_eq!(of(Protocol::Messages, &json!({"content": [by_id]})), (0, None));
    let text = json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain text"}});
    assert_eq!(of(Protocol::Messages, &json!({"content": [text]})), NONE);

    assert_eq!(of(Protocol::Responses, &json!({"content": [{"type": "input_file", "file_id": "f"}]})).1, None);
    assert_eq!(of(Protocol::Responses, &json!({"type": "item_reference", "id": "i"})).1, None);
    assert_eq!(of(Protocol::Chat, &json!({"content": [{"type": "file", "file": {"file_id": "f"}}]})).1, None);
    assert_eq!(of(Protocol::Chat, &json!({"role": "assistant", "audio": {"id": "a"}})).1, None);
    assert_eq!(of(Protocol::Gemini, &json!({"parts": [{"fileData": {"mimeType": "video/mp4", "fileUri": "u"}}]})).1, None);
    let pdf = json!({"parts": [{"inlineData": {"mimeType": "application/pdf", "data": DATA}}]});
    assert_eq!(of(Protocol::Gemini, &pdf), (LENGTH, None));
}

#[test]
fn what_bytes_can_bound_is_bounded() {
    let decoded = LENGTH / 4 * 3;
    let file = format!("data:text/plain;base64,{DATA}");
    let (data, tokens) = of(Protocol::Responses, &json!({"content": [{"type": "input_file", "file_data": file}]}));
    assert!(data == file.len() as u64 && tokens.unwrap() >= decoded);
    let text = json!({"parts": [{"inlineData": {"mimeType": "text/plain", "data": DATA}}]});
    assert_eq!(of(Protocol::Gemini, &text), (LENGTH, Some(decoded)));
    let sound = "A".repeat(80_000);
    let chat = json!({"content": [{"type": "input_audio", "input_audio": {"data": sound, "format": "mp3"}}]});
    assert_eq!(of(Protocol::Chat, &chat), (80_000, Some(1201)));
}

#[test]
fn sealed_reasoning_is_no_text_and_has_a_bound() {
    let sealed = "A".repeat(1200);
    let bound = (1200, Some(300));
    assert_eq!(
        of(Protocol::Messages, &json!({"content": [{"type": "thinking", "thinking": "x", "signature": sealed}]})),
        bound
    );
    assert_eq!(of(Protocol::Messages, &json!({"content": [{"type": "redacted_thinking", "data": sealed}]})), bound);
    assert_eq!(of(Protocol::Responses, &json!({"type": "reasoning", "summary": [], "encrypted_content": sealed})), bound);
    assert_eq!(of(Protocol::Gemini, &json!({"parts": [{"functionCall": {}, "thoughtSignature": sealed}]})), bound);
}

#[test]
fn a_disguise_is_not_passed_over() {
    let items = [
        (Protocol::Messages, r#"{"content":[{"type":"docum\u0065nt","source":{"type":"url"}}]}"#),
        (Protocol::Messages, r#"{"cont\u0065nt":[{"type":"document","source":{"type":"url"}}]}"#),
        (Protocol::Responses, r#"{"type":"item_ref\u0065rence","id":"i"}"#),
        (Protocol::Chat, r#"{"content":[{"typ\u0065":"file","file":{"file_id":"f"}}]}"#),
        (Protocol::Gemini, r#"{"parts":[{"fil\u0065Data":{"fileUri":"u"}}]}"#),
    ];
    for (protocol, item) in items {
        assert_eq!(media(protocol, item.as_bytes()).tokens, None, "{item}");
    }
}
