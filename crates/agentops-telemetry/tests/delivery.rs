//! Receivers that are busy, slow, gone, choosy or behind TLS.

mod common;

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use agentops_telemetry::{Configured, Exporter, Report, Settings, Span, StartError, Timing, Trouble, When};
use common::receiver::{LONG, Loopback, fine};
use common::{QUICK, START_MS, exporter, recorded, settings};

fn spans() -> Vec<Span> {
    recorded::spans(&recorded::run(START_MS), None)
}

/// Settings for traces alone.
fn traces_to(url: &str) -> Settings {
    settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", url), ("OTEL_METRICS_EXPORTER", "none")])
}

fn url(receiver: &Loopback) -> String {
    format!("http://{}", receiver.address)
}

#[test]
fn a_receiver_that_is_busy_is_tried_again_with_the_same_bytes() {
    let receiver = Loopback::start(|place| match place {
        0 => ("429 Too Many Requests", "retry-after: 0\r\n", Vec::new()),
        1 => ("503 Service Unavailable", "", Vec::new()),
        2 => ("502 Bad Gateway", "retry-after: soon\r\n", Vec::new()),
        3 => ("504 Gateway Timeout", "", Vec::new()),
        _ => fine(),
    });
    let (exporter, heard) = exporter(traces_to(&url(&receiver)), QUICK);
    let count = spans().len() as u64;
    exporter.record(spans(), When::Live);
    assert_eq!(exporter.close(LONG), Report { recorded: count, sent: count });
    let requests = receiver.rest();
    assert_eq!(requests.len(), 5);
    assert!(requests.iter().all(|request| request.body == requests[0].body));
    assert_eq!(heard.all(), []);
}

#[test]
fn what_is_refused_is_not_tried_again_and_said_once() {
    let receiver = Loopback::start(|_| ("400 Bad Request", "", Vec::new()));
    let (exporter, heard) = exporter(traces_to(&url(&receiver)), Timing { batch: 1, ..QUICK });
    let count = spans().len();
    exporter.record(spans(), When::Live);
    assert_eq!(exporter.close(LONG), Report { recorded: count as u64, sent: 0 });
    assert_eq!(receiver.rest().len(), count, "each batch once");
    assert_eq!(heard.all(), [Trouble::Refused { signal: "traces", status: 400 }]);
}

#[test]
fn an_answer_to_wait_for_long_is_not_waited_for() {
    let receiver = Loopback::start(|_| ("429 Too Many Requests", "retry-after: 86400\r\n", Vec::new()));
    let (exporter, heard) = exporter(traces_to(&url(&receiver)), QUICK);
    exporter.record(spans(), When::Live);
    assert_eq!(exporter.close(LONG).sent, 0);
    assert_eq!(receiver.rest().len(), 1);
    assert!(matches!(heard.all()[..], [Trouble::Unreachable { signal: "traces", .. }]));
}

#[test]
fn a_receiver_that_says_at_once_for_ever_is_given_up() {
    let receiver = Loopback::start(|_| ("503 Service Unavailable", "retry-after: 0\r\n", Vec::new()));
    let (exporter, heard) = exporter(traces_to(&url(&receiver)), QUICK);
    exporter.record(spans(), When::Live);
    assert_eq!(exporter.close(LONG).sent, 0);
    assert!(receiver.rest().len() > 1);
    let said: Vec<String> = heard.all().iter().map(ToString::to_string).collect();
    assert!(matches!(&said[..], [one] if one.contains("503") && one.contains("runs go on without")), "{said:?}");
}

#[test]
fn a_receiver_that_takes_too_long_is_given_up() {
    let (over, wait) = channel::<()>();
    let receiver = Loopback::start(move |_| {
        let _ = wait.recv();
        fine()
    });
    let variables = [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &*url(&receiver)), ("OTEL_EXPORTER_OTLP_TIMEOUT", "20")];
    let (exporter, heard) = exporter(settings(&variables), Timing { retry_total: Duration::ZERO, ..QUICK });
    exporter.record(spans(), When::Live);
    assert_eq!(exporter.close(LONG).sent, 0);
    let reason = "it does not answer".to_owned();
    assert_eq!(heard.all(), [Trouble::Unreachable { signal: "traces", reason }]);
    drop(over);
}

#[test]
fn nobody_listens() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let (exporter, heard) = exporter(settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{free}"))]), QUICK);
    exporter.record(spans(), When::Live);
    assert_eq!(exporter.close(LONG).sent, 0);
    assert!(
        matches!(
            heard.all()[..],
            [Trouble::Unreachable { signal: "traces", .. }, Trouble::Unreachable { signal: "metrics", .. }]
        ),
        "{:?}",
        heard.all()
    );
}

#[test]
fn a_receiver_that_never_answers_holds_up_nothing() {
    // It takes a request and answers only when this test is over.
    let (over, wait) = channel::<()>();
    let receiver = Loopback::start(move |_| {
        let _ = wait.recv();
        fine()
    });
    let (exporter, heard) = exporter(traces_to(&url(&receiver)), Timing { queue: 4, batch: 1, ..QUICK });
    let mut spans = spans();
    let all = spans.len() as u64;
    exporter.record(spans.drain(..1), When::Live);
    receiver.next();
    // The thread waits for an answer now, so only what the queue holds is kept; this thread does not wait for it.
    exporter.record(spans, When::Live);
    assert_eq!(heard.all(), [Trouble::Dropping]);
    assert_eq!(exporter.close(Duration::ZERO), Report { recorded: all, sent: 0 });
    drop(over);
}

#[test]
fn what_the_receiver_did_not_take_is_not_counted_as_sent() {
    // ExportTraceServiceResponse { partial_success { rejected_spans: 3 } }
    let receiver = Loopback::start(|_| ("200 OK", "", vec![0x0a, 0x02, 0x08, 0x03]));
    let (exporter, heard) = exporter(traces_to(&url(&receiver)), QUICK);
    let count = spans().len() as u64;
    exporter.record(spans(), When::Live);
    assert_eq!(exporter.close(LONG), Report { recorded: count, sent: count - 3 });
    assert_eq!(heard.all(), [Trouble::Rejected { signal: "traces" }]);
}

#[test]
fn what_is_read_again_is_sent_and_not_counted_again() {
    let receiver = Loopback::start(|_| fine());
    let (exporter, _) = exporter(settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &url(&receiver))]), QUICK);
    exporter.record(spans(), When::Replayed);
    let report = exporter.close(LONG);
    assert_eq!(report.sent, report.recorded);
    let paths: Vec<_> = receiver.rest().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/v1/traces"], "nothing was counted, so there are no metrics");
}

#[test]
fn tls_with_a_certificate_of_ones_own() {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|config| config.with_no_client_auth().with_single_cert(vec![issued.cert.der().clone()], key.into()))
        .expect("a server's configuration");
    let receiver = Loopback::tls(Arc::new(server), |_| fine());
    let directory = tempfile::tempdir().expect("a directory");
    let pem = directory.path().join("own.pem");
    std::fs::write(&pem, issued.cert.pem()).expect("the file is written");

    let address = format!("https://localhost:{}", receiver.address.port());
    let send = |certificate: &str| {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str()),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate),
            ("OTEL_METRICS_EXPORTER", "none"),
        ];
        let (exporter, _) = exporter(settings(&variables), QUICK);
        exporter.record(spans(), When::Live);
        exporter.close(LONG)
    };
    let report = send(pem.to_str().expect("a path in UTF-8"));
    assert_eq!(report.sent, report.recorded);
    assert_eq!(receiver.rest().len(), 1);
    // Another authority's certificate is not enough.
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(&pem, other.cert.pem()).expect("the file is written");
    assert_eq!(send(pem.to_str().expect("a path in UTF-8")).sent, 0);
    assert_eq!(receiver.rest().len(), 0);
}

#[test]
fn a_certificate_that_is_not_there_is_said_at_the_start() {
    let configured = Configured { endpoint: Some("https://localhost:1"), ..Configured::default() };
    let get = |name: &str| (name == "OTEL_EXPORTER_OTLP_CERTIFICATE").then(|| "/nowhere/own.pem".to_owned());
    let settings = Settings::resolve(get, configured).expect("they can be used").expect("an address");
    let error = Exporter::start(settings, QUICK, || 0, |_| {}).expect_err("there is no such file");
    assert!(matches!(&error, StartError::Tls(words) if words.contains("/nowhere/own.pem")), "{error}");
}
