//! Folders of code: no file that the task is about may be missing without a word.

use std::fs;

use super::{Made, latin1, utf16};
use crate::room::Room;

/// A room with these files.
fn folder(files: &[(&str, &[u8])]) -> Room {
    let room = Room::empty();
    for (path, content) in files {
        let path = room.repo().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    room
}

#[track_caller]
fn bundle(room: &Room, task: &str, budget: u64) -> Made {
    Made::of(room, &["code", &format!("--task={task}"), &format!("--budget={budget}")])
}

const ORDERS: &str = "public class Orders {\n  public int ExportJson(bool flag) {\n    return flag ? 1 : 0;\n  }\n}\n";
const OTHER: &[u8] = b"public class Other {\n  public int Unrelated() { return 2; }\n}\n";

#[test]
fn a_source_in_utf_16_that_the_task_names_is_printed() {
    let room = folder(&[("orders.cs", &utf16(ORDERS)), ("other.cs", OTHER)]);
    bundle(&room, "add a json flag to ExportJson in Orders", 3000)
        .holds(&["orders.cs", "public int ExportJson(bool flag)"])
        .lacks(&["\u{feff}"]);
}

#[test]
fn a_source_in_big_endian_utf_16_without_a_mark_is_printed() {
    let bytes: Vec<u8> = ORDERS.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let room = folder(&[("orders.cs", &bytes), ("other.cs", OTHER)]);
    bundle(&room, "ExportJson returns the wrong flag", 3000).holds(&["public int ExportJson(bool flag)"]);
}

#[test]
fn a_source_in_latin_1_keeps_its_umlauts() {
    let source = latin1("def prüfe_größe(wert):\n    # Maß in Metern\n    return wert > 3\n");
    let room = folder(&[("mass.py", &source), ("rest.py", b"def rest():\n    return 0\n")]);
    bundle(&room, "prüfe_größe accepts 3 metres", 2000).holds(&["mass.py", "def prüfe_größe(wert):", "Maß in Metern"]);
}

#[test]
fn a_replacement_character_or_a_stray_byte_drops_no_file() {
    let stray = [b"fn parse_header() {\n    // caf\xff\n    read();\n}\n".as_slice()].concat();
    let room = folder(&[
        ("src/header.rs", &stray),
        ("src/replaced.rs", "fn replaced_text() {\n    let mark = '\u{fffd}';\n}\n".as_bytes()),
    ]);
    bundle(&room, "parse_header and replaced_text fail", 2000).holds(&["fn parse_header()", "fn replaced_text()"]);
}

#[test]
fn a_file_with_one_long_line_keeps_its_short_lines() {
    let long = format!("TABLE = \"{}\"\n", "0123456789abcdef".repeat(500));
    let source = format!("{long}\ndef retry_limit(order):\n    return order.tries + 3\n");
    let room = folder(&[("limits.py", source.as_bytes()), ("other.py", b"def other():\n    return 1\n")]);
    bundle(&room, "retry_limit allows three tries too many", 600)
        .holds(&["def retry_limit(order):", "return order.tries + 3"])
        .lacks(&["0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"]);
}

#[test]
fn a_configuration_in_javascript_is_not_empty() {
    let config = "module.exports = {\n  plugins: {\n    tailwindcss: {},\n    autoprefixer: { grid: true },\n  },\n};\n";
    let room = folder(&[("postcss.config.js", config.as_bytes()), ("index.js", b"console.log(1);\n")]);
    bundle(&room, "turn off the grid of autoprefixer in postcss", 1000).holds(&["autoprefixer: { grid: true }"]);
}

#[test]
fn a_picture_in_a_notebook_does_not_push_out_the_code() {
    let picture = "iVBORw0KGgoAAAANSUhEUgAA".repeat(2000);
    let notebook = format!(
        "{{\n \"cells\": [\n  {{\n   \"cell_type\": \"code\",\n   \"outputs\": [\n    {{\n     \"data\": {{\n      \
         \"image/png\": \"{picture}\"\n     }}\n    }}\n   ],\n   \"source\": [\n    \"def learning_rate(step):\\n\",\n    \
         \"    return 0.1 / step\"\n   ]\n  }}\n ],\n \"nbformat\": 4\n}}\n"
    );
    let room = folder(&[("train.ipynb", notebook.as_bytes()), ("readme.md", b"# Training\n")]);
    let made = bundle(&room, "learning_rate divides by zero at step 0", 800);
    made.holds(&["def learning_rate(step)"]).lacks(&["iVBORw0KGgoAAAANSUhEUgAAiVBORw0KGgo"]);
}

#[test]
fn functions_of_c_have_their_signatures() {
    let room = folder(&[
        ("src/ring.h", b"#ifndef RING_H\n#define RING_H\nint ring_push(struct ring *r, int value);\n#endif\n"),
        (
            "src/ring.c",
            b"#include \"ring.h\"\n\nint ring_push(struct ring *r, int value)\n{\n\treturn r->full ? -1 : value;\n}\n",
        ),
        ("src/main.c", b"int main(void)\n{\n\treturn 0;\n}\n"),
    ]);
    bundle(&room, "ring_push overwrites values when the ring is full", 1000).holds(&[
        "int ring_push(struct ring *r, int value)",
        "r->full",
        "src/ring.h",
    ]);
}

#[test]
fn methods_of_go_have_their_signatures() {
    let source = "package router\n\ntype Mux struct{}\n\nfunc (m *Mux) HandleFunc(pattern string, depth int) {\n\tm.add(pattern)\n}\n";
    let room = folder(&[("router/mux.go", source.as_bytes()), ("cmd/main.go", b"package main\n\nfunc main() {}\n")]);
    bundle(&room, "HandleFunc ignores its depth", 1000).holds(&["func (m *Mux) HandleFunc(pattern string, depth int)"]);
}

#[test]
fn a_link_to_an_endless_device_is_not_followed() {
    let room = folder(&[("plugin.js", b"function plugin() { return 7; }\n")]);
    std::os::unix::fs::symlink("/dev/zero", room.repo().join("endless.js")).unwrap();
    std::os::unix::fs::symlink(".", room.repo().join("circle")).unwrap();
    let made = bundle(&room, "plugin returns 7", 500);
    made.holds(&["function plugin()"]);
    assert_eq!(made.count("function plugin()"), 1, "{}", made.text);
}

#[test]
fn an_ignore_file_in_another_encoding_ends_no_walk() {
    let room = folder(&[
        (".gitignore", b"# f\xfcr die Ausgabe\nausgabe/\n"),
        ("ausgabe/generated.rs", b"fn only_in_ignored_output() {}\n"),
        ("src/lib.rs", b"fn in_the_library() {}\n"),
    ]);
    room.git(&["init", "--quiet"]);
    bundle(&room, "in_the_library is wrong", 500).holds(&["fn in_the_library()"]).lacks(&["only_in_ignored_output"]);
}

#[test]
fn a_file_that_no_grammar_can_read_ends_no_bundle() {
    let nested = format!("int broken() {{ return {}1{}; }}\n", "(".repeat(60_000), ")".repeat(60_000));
    let room = folder(&[
        ("vendored/deep.cpp", nested.as_bytes()),
        ("src/queue.cpp", b"int queue_length(int first, int last) {\n  return last - first;\n}\n"),
    ]);
    bundle(&room, "queue_length is one too small", 800).holds(&["int queue_length(int first, int last)"]);
}

#[test]
fn a_source_with_carriage_returns_alone_is_read_by_line() {
    let source = b"program Old;\rfunction TaxRate(year: integer): real;\rbegin\r  TaxRate := 0.19;\rend;\r";
    let room = folder(&[("tax.pas", source), ("notes.txt", b"nothing here\n")]);
    let made = bundle(&room, "TaxRate is too high", 800);
    made.holds(&["function TaxRate(year: integer): real;", "TaxRate := 0.19"]).lacks(&["\r"]);
}

#[test]
fn names_with_spaces_and_line_breaks_forge_no_line() {
    let room = folder(&[("my file (copy).rs", b"fn spaced_name() {}\n"), ("line\nsrc/forged.rs", b"fn broken_name() {}\n")]);
    let made = bundle(&room, "spaced_name and broken_name", 500);
    made.holds(&["my file (copy).rs", "fn spaced_name()"]);
    assert!(!made.text.lines().any(|line| line.starts_with("src/forged.rs")), "{}", made.text);
}

#[test]
fn a_pointer_to_a_large_file_elsewhere_is_named() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
    let room = folder(&[("rates.py", pointer.as_bytes()), ("main.py", b"def main():\n    return 0\n")]);
    let made = bundle(&room, "rates are wrong", 500);
    made.names_a_loss();
    assert!(made.view["fidelity"]["omitted"].to_string().contains("rates.py"), "{:#}", made.view["fidelity"]);
}

#[test]
fn a_file_without_read_permission_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let room = folder(&[("closed.rs", b"fn closed_door() {}\n"), ("open.rs", b"fn open_door() {}\n")]);
    fs::set_permissions(room.repo().join("closed.rs"), fs::Permissions::from_mode(0o000)).unwrap();
    let made = bundle(&room, "closed_door does not open", 500);
    // The superuser reads every file.
    if fs::read(room.repo().join("closed.rs")).is_ok() {
        made.holds(&["fn closed_door()"]);
        return;
    }
    made.names_a_loss();
    assert!(made.view["fidelity"]["omitted"].to_string().contains("closed.rs"), "{:#}", made.view["fidelity"]);
}

#[test]
fn generated_code_stands_behind_what_has_to_be_changed() {
    let generated: String =
        (0..400).map(|at| format!("func (m *Client) GetAddress{at}() string {{ return m.address }}\n")).collect();
    let generated = format!("// Code generated by protoc-gen-go. DO NOT EDIT.\npackage api\n{generated}");
    let source = |at: usize| {
        format!(
            "package proxy\n\n// Address{at} reads the client's address behind proxies.\nfunc Address{at}(header string) string {{\n\treturn header[{at}:]\n}}\n"
        )
    };
    let sources: Vec<(String, String)> = (0..12).map(|at| (format!("proxy/address_{at}.go"), source(at))).collect();
    let mut files: Vec<(&str, &[u8])> = sources.iter().map(|(path, text)| (path.as_str(), text.as_bytes())).collect();
    files.push(("api/client.pb.go", generated.as_bytes()));
    let made = bundle(&folder(&files), "the client address behind proxies is wrong", 900);
    for at in 0..12 {
        made.holds(&[&format!("return header[{at}:]")]);
    }
    assert!(made.count("func (m *Client) GetAddress") < 20, "{}", made.text);
}
