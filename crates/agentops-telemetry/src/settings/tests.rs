use super::*;

const KNOWN: Configured<'_> = Configured { endpoint: None, project: None, version: "1.2.3", instance: "one" };

fn resolve(variables: &[(&str, &str)], configured: Configured<'_>) -> Result<Option<Settings>, SettingsError> {
    for (name, _) in variables {
        assert!(VARIABLES.iter().any(|(known, _)| known == name), "{name} is not in the list of variables");
    }
    let get = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Settings::resolve(get, configured)
}

fn urls(variables: &[(&str, &str)], endpoint: Option<&str>) -> [Option<String>; 2] {
    let settings = resolve(variables, Configured { endpoint, ..KNOWN }).expect("they can be used");
    let url = |target: Option<&Target>| target.map(|target| target.url.to_string());
    [url(settings.as_ref().and_then(|s| s.traces.as_ref())), url(settings.as_ref().and_then(|s| s.metrics.as_ref()))]
}

#[test]
fn nothing_is_sent_unless_somebody_asked() {
    assert!(resolve(&[], KNOWN).expect("nothing is wrong").is_none());
    assert!(resolve(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " "), ("OTEL_SERVICE_NAME", "x")], KNOWN).expect("fine").is_none());
    let off = [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:1")];
    assert!(resolve(&off, Configured { endpoint: Some("http://h:1"), ..KNOWN }).expect("off").is_none());
}

#[test]
fn addresses_are_put_together_as_the_specification_says() {
    let both = |base: &str| [Some(format!("{base}/v1/traces")), Some(format!("{base}/v1/metrics"))];
    assert_eq!(urls(&[], Some("http://h:4318/")), both("http://h:4318"));
    let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://h/otlp");
    assert_eq!(urls(&[general], Some("http://other:4318")), both("https://h/otlp"));
    let traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t/as-it-stands");
    assert_eq!(urls(&[traces, general], None)[0].as_deref(), Some("http://t/as-it-stands"));
    assert_eq!(urls(&[traces], None)[1], None);
    assert_eq!(urls(&[general, ("OTEL_METRICS_EXPORTER", "none")], None)[1], None);
}

#[test]
fn headers_are_decoded_and_cannot_be_printed() {
    let settings = resolve(
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20c2VjcmV0, x-team=a"),
            ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x-team=b"),
        ],
        KNOWN,
    )
    .expect("they can be used")
    .expect("there is an address");
    let shown = |target: &Option<Target>| -> Vec<(String, String)> {
        let headers = target.as_ref().expect("a target").headers.iter();
        headers.map(|(name, value)| (name.to_string(), value.expose().to_owned())).collect()
    };
    let traces = [("authorization".to_owned(), "Basic c2VjcmV0".to_owned()), ("x-team".into(), "a".into())];
    assert_eq!(shown(&settings.traces), traces);
    assert_eq!(shown(&settings.metrics), [("x-team".to_owned(), "b".to_owned())]);
    assert!(!format!("{settings:?}").contains("c2VjcmV0"));
}

#[test]
fn the_program_says_who_it_is() {
    let about = |variables: &[(&str, &str)], configured| {
        let endpoint = Some("http://h:4318");
        let settings = resolve(variables, Configured { endpoint, ..configured }).expect("fine").expect("an address");
        settings.about.attributes().iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    let own = "service.instance.id=one service.name=agentops service.version=1.2.3";
    assert_eq!(about(&[], KNOWN), own);
    let project = Configured { project: Some("p"), ..KNOWN };
    assert_eq!(about(&[], project), format!("openinference.project.name=p {own}"));
    let list = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=list,team=a%2Cb");
    assert_eq!(about(&[list], KNOWN), "service.instance.id=one service.name=list service.version=1.2.3 team=a,b");
    let both = [list, ("OTEL_SERVICE_NAME", "own")];
    assert!(about(&both, KNOWN).contains("service.name=own"));
}

#[test]
fn what_cannot_be_used_is_said_with_its_name_and_without_its_secrets() {
    let address = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:4318");
    for (name, value, word) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "h:4318", "http://"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:hunter2@h:4318", "OTEL_EXPORTER_OTLP_HEADERS"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2", "name=value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a b=hunter2", "header"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=hunter2%0A", "cannot stand"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "milliseconds"),
    ] {
        let error = resolve(&[(name, value), address], KNOWN).map(|_| ()).expect_err(name);
        assert_eq!(error.source_name, name);
        assert!(error.to_string().contains(word), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
