//! How severe a line is, and which part of it says so.
//!
//! Forms of errors of many tools are known by their shape: a level, an error code, an exit code, a signal. Each form is a
//! general one that several tools share. The tests list the tools.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

/// How severe a line is. The order is the order of severity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Severity {
    /// Nothing points to a problem.
    Normal,
    /// A word that often stands in a message about a problem.
    Suspicious,
    /// A level, a code or a form by which a tool reports an error.
    Error,
}

/// A pattern with the word boundaries and word characters of ASCII, since the Unicode ones are slow in text that is not ASCII.
/// The patterns are constants, compiled by the tests.
fn pattern(text: &str) -> Regex {
    let text = text.replace(r"\b", r"(?-u:\b)").replace(r"\w", "[0-9A-Za-z_]");
    Regex::new(&text).unwrap_or_else(|error| unreachable!("a constant pattern: {error}"))
}

/// Forms that report an error. ASCII only, which is several times faster.
static ERROR: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?x)
        # Labels and levels.
        (?i: \b (?:fatal\ |internal\ |compiler\ )? (?:error|fatal|failure|fehler|erreur|errore|erro|fout|hata|chyba|blad)
             (?:\ +[a-z]{0,8}[0-9]{2,6}|\[[a-z0-9_-]+\])? \s? : (?:[^:]|$) )
        | \b (?: ERROR | FATAL | CRITICAL | SEVERE | EMERG | ALERT | PANIC | FAILURE | FAILED | FAIL ) \b
        | (?i: [\[<(] (?:error|err|eror|fatal|crit|critical|emerg|alert|panic|severe) [\]>)] )
        | ^ (?: [EF]/ | [EF]\ +[A-Za-z] | [EFC][0-9]{4}\ [0-9]{2}: | \[[EF]\ | E\ \ | <[0-3]> )
        # An error with its number or code.
        | (?i: \b (?:error|fehler|erreur|errore|erro|exception) (?:\ code)? [\ :=\#]{1,3} (?:[a-z]{1,8}-?)?[0-9]{2,6} \b )
        | \b (?: ORA | TNS | PLS | SP2 | RMAN ) - [0-9]{4,5} \b
        | \b 0x (?: (?: 8007 | 8004 | 8013 | 8009 | [Cc]000 ) [0-9A-Fa-f] | 8000[4Ff] ) [0-9A-Fa-f]{3} \b
        | \b SQLSTATE \W | \b ERR_[A-Z][A-Z_]+ \b
        | \b E (?: NOENT | ACCES | PERM | CONN(?:REFUSED|RESET|ABORTED) | TIMEDOUT | TIMEOUT | ADDRINUSE | ADDRNOTAVAIL | EXIST
             | MFILE | NFILE | NOSPC | PIPE | INVAL | RESOLVE | LIFECYCLE | ROFS | NOMEM | AI_AGAIN | NOTFOUND | HOSTUNREACH
             | NETUNREACH | NOTEMPTY | NOTDIR | ISDIR | XDEV | LOOP | NAMETOOLONG | INTEGRITY | UNSUPPORTED | BADENGINE
             | BADF | FAULT | DQUOT | PROTO ) \b
        # Structured records.
        | (?i: " (?:level|lvl|severity|level_?name|log_?level|log\.level|severity_?text|@l|@level) " \s* : \s*
             (?: " (?:error|err|eror|fatal|critical|crit|panic|dpanic|alert|emergency|emerg|severe|failure) " | [56]0\b ) )
        | "PRIORITY" \s* : \s* "[0-3]"
        | (?i: " severity_?number " \s* : \s* (?:1[7-9]|2[0-4]) \b )
        | (?i: " (?:err|error|errors|exception|exc_info|exc_text|stack_?trace|err(?:or)?_?(?:message|msg|code|kind|class)|failure) "
             \s* : \s* (?: "[^"] | \{\s*" | \[\s*[^\]\s] | -?[1-9] | true ) )
        | (?i: \b (?:level|lvl|severity|log_?level) = \W{0,2} (?:error|err|eror|fatal|critical|crit|panic|alert|emerg)\b )
        | (?i: \b (?:err|error|exception|failure) = \s? (?: "[^"] | '[^'] | [^\s"',;)\]}0<] ) )
        # How a program ended.
        | (?i: \b exit(?:ed|ing|s)? \b (?:\ abnormally)? (?:\ with)? (?:\ an?)? (?:\ non-?zero)? (?:\ (?:exit|error|status|return))?
             (?:[\ _(-]{0,2}(?:code|status|value))? (?:\ was|\ of)? [\s:=('"]{1,3} -?(?:[1-9]|0x0*[1-9a-f]) )
        | (?i: \b (?:return(?:ed|s)?|finished|failed|terminated|completed|ended|died) \b (?:\ a)?(?:\ with)? \ ?
             (?:non-zero\ )? (?:exit\ |error\ |return\ )? (?:code|status) [\s:=(]{0,3} -?[1-9] )
        | (?i: \b return\ value\ 3 \b | \b return(?:ing|ed)? \ 1[56][0-9]{2} \b | \b non-?zero\ (?:exit|code|status|return) )
        | (?i: \b status=[1-9][0-9]*/ | \b code=(?:killed|dumped) \b | \b exit_?code ["'=:\s]{1,4} -?[1-9] )
        | \b SIG(?:SEGV|ABRT|KILL|BUS|ILL|FPE|SYS|TRAP) \b | (?i: \b signal:?\ (?:4|6|7|8|9|11)\b | \bcore\ dumped\b )
        # Servers.
        | "\ 5[0-9]{2}\b | (?i: \b status (?:_?code)? ["'=:\s]{1,4} 5[0-9]{2} \b ) | \b HTTP/[0-9.]+\ 5[0-9]{2}\b
        # Runtimes.
        | [A-Za-z](?:Error|Exception)\b (?:: | $ | \s\() | \b Traceback\ \(most | (?i: \b (?:unhandled|uncaught) \b )
        | \b (?:panic:|panicked\ at) | \b Exception\ in\ thread\b | \b UnhandledPromiseRejection | \*\*\ \([A-Z]\w*(?:\.\w+)*\)
        | (?i: \b segmentation\ fault\b | \b segfault\ at\b | \b stack\ overflow\b | \b bus\ error\b | \b double\ free\b )
        | \b AddressSanitizer\b | \b runtime\ error\b
        # Kernels and service managers.
        | \b (?: BUG: | Oops: | Kernel\ panic | general\ protection\ fault | unable\ to\ handle | soft\ lockup | hard\ LOCKUP
             | Out\ of\ memory | out\ of\ memory | invoked\ oom-killer | oom-kill | I/O\ error | Machine\ check | rcu_sched\ self-detected )
        | \b blocked\ for\ more\ than\ [0-9]+\ seconds\b | \b (?: Failed\ to\ start | Dependency\ failed | Failed\ with\ result )
        | \b (?: CrashLoopBackOff | ImagePullBackOff | ErrImagePull | OOMKilled | FailedScheduling | FailedMount
             | CreateContainerConfigError | CreateContainerError | BackOff | Unhealthy ) \b | \b Evicted\ +[Pp]od\b
        # Build servers and build tools.
        | \#\#\[error\] | ^::error\b | type=error\b | \b npm\ ERR! | \b make(?:\[[0-9]+\])?:\ \*\*\* | \b ninja:\ build\ stopped
        | (?i: \b build\ (?:failed|failure)\b | \bfinished:\ (?:failure|aborted|unstable)\b | \bERROR\ in\ \S )
        | \*\*\*Failed\b | ^\s*(?:✕|✗|✘|✖|×)\s
        "#,
    )
});

/// `Name.cs(3,5): word CODE123:` of compilers, whatever language the word is in.
static CODED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?x) (?:\(\d+(?:,\d+){0,3}\)|^\S{1,80})\s?:\s+ (?P<word>[\p{L}\ ]{1,40}?) \s? \b(?:[A-Z]{1,8}\d{3,5})\s?:")
});

/// `path/name.go:3:5: message`, but for those that are only warnings or notes.
static DIAGNOSTIC: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?x) ^(?:vet:\ |\#\ )?[^\s:]*(?:[A-Za-z]:)?[^\s:]+\.(?:go|c|cc|cpp|cxx|h|hpp|hh|m|mm|rs|java|kt|kts|scala|swift|cs|fs|vb|py|pyx|rb
        |js|jsx|mjs|cjs|ts|tsx|vue|php|pl|hs|ml|ex|exs|erl|zig|nim|d|tf|proto|s|S|f90|lua|dart|jl|sol|v|sv|vhd)
        :[0-9]+(?::(?P<column>[0-9]+))?:\ +(?P<word>[A-Za-z]*)",
    )
});

/// Words for an error or a failure in other languages than English.
static OTHER_LANGUAGES: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?xi) \b(?:fehler|fehlgeschlagen|ausnahmefehler|abgebrochen|erreur|errore|fallito|fallita|falló|fallo|erro|falha|falhou
        |hata|başarısız|fout|mislukt|virhe|epäonnistui|chyba|selhalo|hiba|sikertelen|feil|fejl|misslyckades)\b
        |échec|échoué|błąd|błędu|ошибк|сбой|исключение|помилка|σφάλμα|שגיאה|خطأ|lỗi
        |エラー|失敗|例外|错误|錯誤|失败|异常|異常|오류|실패|예외",
    )
});

/// Words for a warning or a note. A compiler's message with one of them is no error.
static WARNING: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?xi) ^(?:warning|warn|note|info|information|hint|help|remark|debug|in|from|included|style|refactor|convention|warnung|avertissement|advertencia
        |avviso|aviso|waarschuwing|varning|advarsel|ostrzeżenie|предупреждение|попередження|uyarı|varoitus|varování|警告|경고)",
    )
});

static SUSPICIOUS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?ix) \b( err(or)?s? | fatal | fail(ed|ures?|s|ing)? | exceptions? | critical | crit | emerg | alert | panic(ked|s)?
        | abort(ed|s|ing)? | severe | denied | refused | invalid | illegal | timed?[ -]?out | timeout | unable | cannot
        | can(')?t | could\ not | couldn't | corrupt(ed|ion)? | unreachable | crash(ed|es)? | core\ dumped | segfault
        | segmentation\ fault | killed | out\ of\ memory | oom | deadlock | violation | unexpected | traceback | assert(ion)?
        | broken\ pipe | reset\ by\ peer | not\ found | no\ such | undefined | undeclared | unresolved | mismatch | rejected | severed
        | lost | mis?sing | redeclared | unauthorized | forbidden | sigterm )\b
        | (?-i: [A-Za-z](Error|Exception|Failure|Fault)\b )",
    )
});

/// Forms in which the words of an error say that there is none.
static NO_ERROR: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?ix) \b(?:0|no|without|zero)\ (?:errors?|failures?|failed|failing|warnings?|exceptions?)\b
        | \b(?:errors?|failures?|failed)\s*[=:]\s*(?:0\b|none\b)
        | ["']?\b(?:err|errors?|exception|failure|failures?|failed|exc_info|stack|stack_?trace|err(?:or)?_?(?:message|msg|code|kind|class))["']?
          \s*[=:]\s* (?: null\b | nil\b | none\b | undefined\b | false\b | <nil> | "" | '' | "(?:null|nil|none|ok|false|0)" | \{\s*\} | \[\s*\] | -(?:\s|$) | 0\b ) "#,
    )
});

/// The level of a record that says that it is no error, as `"level":"info"` and `level=info`.
static LOW_LEVEL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?ix) (?: "(?:level|lvl|severity|level_?name|log_?level|log\.level|severity_?text|@l|@level)"\s*:\s*"|\b(?:level|lvl|severity|log_?level)="?)
        (?:trace|debug|info|information|notice|verbose|warn|warning)\b"#,
    )
});

/// A syslog priority at the beginning of a line.
static PRIORITY: LazyLock<Regex> = LazyLock::new(|| pattern(r"^<(\d{1,3})>"));

/// The first parts of a line that say that something is wrong, at most `most`, the severe forms before the suspicious words.
pub(super) fn telling_parts(line: &str, most: usize) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    find(line, |severity, part| {
        parts.push((std::cmp::Reverse(severity), part));
        parts.len() < 4 * most
    });
    parts.sort_by_key(|(severity, part)| (*severity, part.start));
    parts.truncate(most);
    let mut parts: Vec<Range<usize>> = parts.into_iter().map(|(_, part)| part).collect();
    parts.sort_by_key(|part| part.start);
    parts
}

/// Whether a text has a word that often stands in a message about a problem. Quicker than the severity.
pub(crate) fn is_trouble(text: &str) -> bool {
    let mut words = SUSPICIOUS.find_iter(text).chain(OTHER_LANGUAGES.find_iter(text)).peekable();
    if words.peek().is_none() {
        return false;
    }
    let good: Vec<Range<usize>> = NO_ERROR.find_iter(text).map(|found| found.range()).collect();
    words.any(|word| !good.iter().any(|good| good.start <= word.start() && word.end() <= good.end))
}

/// How severe a line is.
pub(super) fn of(line: &str) -> Severity {
    let mut most = Severity::Normal;
    find(line, |severity, _| {
        most = most.max(severity);
        most < Severity::Error
    });
    most
}

/// Calls `each` with what points to a problem, until it returns false.
fn find(line: &str, mut each: impl FnMut(Severity, Range<usize>) -> bool) {
    let good: Vec<Range<usize>> = NO_ERROR.find_iter(line).map(|found| found.range()).collect();
    let is_good = |part: &Range<usize>| good.iter().any(|good| good.start <= part.start && part.end <= good.end);
    // A record's own level outweighs a word of its message, but not a field that holds an error.
    let error = if LOW_LEVEL.is_match(line) { Severity::Suspicious } else { Severity::Error };
    for found in ERROR.find_iter(line).filter(|found| !is_good(&found.range())) {
        let is_field = found.as_str().contains(['"', '=']);
        if !each(if is_field { Severity::Error } else { error }, found.range()) {
            return;
        }
    }
    let is_error_word = |word: &str| !WARNING.is_match(word.trim()) && !word.ends_with("Warning");
    for found in CODED.captures_iter(line) {
        if is_error_word(&found["word"]) && !each(Severity::Error, whole(&found)) {
            return;
        }
    }
    if let Some(found) = DIAGNOSTIC.captures(line)
        && is_error_word(&found["word"])
        // Searches print a path and a line as well, but no column.
        && !each(found.name("column").map_or(Severity::Suspicious, |_| Severity::Error), whole(&found))
    {
        return;
    }
    if let Some(found) = PRIORITY.captures(line)
        && found[1].parse::<u32>().is_ok_and(|priority| priority % 8 <= 3)
        && !each(Severity::Error, whole(&found))
    {
        return;
    }
    for found in OTHER_LANGUAGES.find_iter(line).chain(SUSPICIOUS.find_iter(line)) {
        if !is_good(&found.range()) && !each(Severity::Suspicious, found.range()) {
            return;
        }
    }
}

fn whole(found: &regex::Captures<'_>) -> Range<usize> {
    found.get(0).map(|found| found.range()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages by which tools report an error, with the part that says so.
    const ERRORS: &[(&str, &str)] = &[
        // Compilers and linkers.
        (
            r"C:\src\App\Cart.cs(41,9): error CS0103: The name 'walrus' does not exist [C:\src\App\App.csproj]",
            "error CS0103:",
        ),
        ("Cart.cs(41,9): Fehler CS0103: Der Name \"walrus\" ist im aktuellen Kontext nicht vorhanden.", "CS0103:"),
        ("cart.cpp(7): エラー C2065: 'walrus': 定義されていない識別子です。", "C2065:"),
        ("cart.cpp(7,3): erreur C2065 : 'walrus' : identificateur non déclaré", "C2065 :"),
        ("Целое.cs(3,5): ошибка CS1002: требуется точка с запятой", "CS1002:"),
        ("App.targets(88,5): error MSB3073: The command \"copy a b\" exited with code 4.", "error MSB3073:"),
        ("LINK : fatal error LNK1181: cannot open input file 'walrus.lib'", "fatal error LNK1181:"),
        ("src/cart.c:12:7: error: 'walrus' undeclared (first use in this function)", "error:"),
        ("cart.c:(.text+0x1b): undefined reference to `walrus'", "undefined"),
        ("clang: error: linker command failed with exit code 1 (use -v to see invocation)", "error:"),
        ("error[E0382]: borrow of moved value: `walrus`", "error[E0382]:"),
        ("error: could not compile `cart` (lib) due to 2 previous errors", "error:"),
        ("vet: ./cart.go:9:2: walrus redeclared in this block", "./cart.go:9:2:"),
        ("./cart.go:14:3: declared and not used: walrus", "./cart.go:14:3:"),
        ("src/cart.ts(8,13): error TS2304: Cannot find name 'walrus'.", "error TS2304:"),
        ("src/cart.ts:8:13 - error TS2304: Cannot find name 'walrus'.", "error TS2304:"),
        ("Cart.java:31: error: cannot find symbol", "error:"),
        ("ERROR in ./src/cart.js 3:0-28", "ERROR in ./"),
        ("✘ [ERROR] Could not resolve \"./walrus\"", "ERROR"),
        ("ld: symbol(s) not found for architecture arm64", "not found"),
        // Build tools.
        ("> Task :app:compileJava FAILED", "FAILED"),
        ("FAILURE: Build failed with an exception.", "FAILURE"),
        ("[ERROR] Failed to execute goal on project cart: Could not resolve dependencies", "[ERROR]"),
        ("make[2]: *** [Makefile:12: cart.o] Error 1", "make[2]: ***"),
        ("ninja: build stopped: subcommand failed.", "ninja: build stopped"),
        ("npm ERR! code ELIFECYCLE", "npm ERR!"),
        ("npm error code ERESOLVE", "ERESOLVE"),
        ("ERROR: Could not find a version that satisfies the requirement walrus==9", "ERROR"),
        ("ERROR: failed to solve: process \"/bin/sh -c make\" did not complete successfully: exit code: 2", "exit code: 2"),
        ("The command '/bin/sh -c make' returned a non-zero code: 2", "non-zero code"),
        ("╷\n│ Error: Unsupported argument", "Error:"),
        ("Error: INSTALLATION FAILED: cannot re-use a name that is still in use", "Error:"),
        // Tests.
        ("E       assert 3 == 4", "E  "),
        ("FAILED tests/test_cart.py::test_total - assert 3 == 4", "FAILED"),
        ("  ✕ adds two (3 ms)", "✕"),
        ("3/9 Test #3: cart_total ...................***Failed    0.02 sec", "***Failed"),
        // Installers, systems and kernels.
        ("CustomAction LaunchSetup returned actual error code 1603", "error code 1603"),
        ("Action ended 10:02:11: InstallFinalize. Return value 3.", "Return value 3"),
        ("MainEngineThread is returning 1603", "returning 1603"),
        ("Installation failed with 0x80070643", "0x80070643"),
        ("Exception code: 0xc0000005", "0xc0000005"),
        ("systemd[1]: Failed to start Cart service.", "Failed to start"),
        ("cart.service: Main process exited, code=exited, status=203/EXEC", "status=203/"),
        ("Oops: 0002 [#1] PREEMPT SMP", "Oops:"),
        ("Out of memory: Killed process 812 (cart) total-vm:91kB", "Out of memory"),
        ("cart invoked oom-killer: gfp_mask=0xcc0, order=0", "invoked oom-killer"),
        ("cart[812]: segfault at 0 ip 00007f sp 00007f error 4 in cart", "segfault at"),
        ("INFO: task cart:812 blocked for more than 120 seconds.", "blocked for more than 120 seconds"),
        ("<11>1 2031-04-05T06:07:08Z host cart - - - disk is gone", "<11>"),
        ("<131>Apr  5 06:07:08 host cart: disk is gone", "<131>"),
        ("bash: line 3: 812 Segmentation fault      (core dumped) ./cart", "Segmentation fault"),
        // Containers.
        ("cart-7d9f  0/1  CrashLoopBackOff  5  3m", "CrashLoopBackOff"),
        ("Warning  Failed  2s  kubelet  Error: ImagePullBackOff", "ImagePullBackOff"),
        ("Last State: Terminated  Reason: OOMKilled  Exit Code: 137", "OOMKilled"),
        ("container cart exited (137)", "exited (1"),
        // Runtimes.
        ("Traceback (most recent call last):", "Traceback (most"),
        ("ValueError: invalid literal for int() with base 10: 'walrus'", "ValueError:"),
        ("java.lang.IllegalStateException: cart is closed", "IllegalStateException:"),
        ("Exception in thread \"main\" java.lang.NullPointerException", "Exception in thread"),
        ("Unhandled exception. System.InvalidOperationException: cart is closed", "Unhandled"),
        ("TypeError: Cannot read properties of undefined (reading 'total')", "TypeError:"),
        ("Error [ERR_MODULE_NOT_FOUND]: Cannot find package 'walrus'", "ERR_MODULE_NOT_FOUND"),
        ("thread 'main' panicked at src/cart.rs:3:5:", "panicked at"),
        ("panic: runtime error: index out of range [3] with length 3", "panic:"),
        ("** (RuntimeError) cart is closed", "** (RuntimeError)"),
        ("fatal: not a git repository (or any of the parent directories): .git", "fatal:"),
        ("==812==ERROR: AddressSanitizer: heap-use-after-free on address 0x602", "ERROR"),
        ("listen EADDRINUSE: address already in use :::8080", "EADDRINUSE"),
        // Services and structured records.
        ("E0405 06:07:08.000000     812 cart.go:12] sync is stuck", "E0405 06:"),
        ("E/Cart: sync is stuck", "E/"),
        ("E Cart    : sync is stuck", "E C"),
        ("[emerg] 812#0: bind() to 0.0.0.0:80", "[emerg]"),
        ("2031-04-05 06:07:08 UTC [812] FATAL:  role \"cart\" does not exist", "FATAL"),
        ("ORA-00942: table or view does not exist", "ORA-00942"),
        ("SQLSTATE[42S02]: Base table or view not found", "SQLSTATE["),
        ("10.0.0.7 - - [05/Apr/2031:06:07:08 +0000] \"GET /cart HTTP/1.1\" 503 12", "\" 503"),
        (r#"{"level":"error","msg":"sync is stuck"}"#, r#""level":"error""#),
        (r#"{"level":50,"time":1,"msg":"sync is stuck"}"#, r#""level":50"#),
        (r#"{"severity": "CRITICAL", "message": "sync is stuck"}"#, r#""severity": "CRITICAL""#),
        (r#"{"SeverityNumber":17,"Body":"sync is stuck"}"#, r#""SeverityNumber":17"#),
        (r#"{"level":"info","id":3,"err":"disk is gone"}"#, r#""err":"d"#),
        (r#"{"level":"info","id":3,"error":{"code":9}}"#, r#""error":{""#),
        (r#"{"PRIORITY":"3","MESSAGE":"disk is gone"}"#, r#""PRIORITY":"3""#),
        ("level=error msg=\"sync is stuck\" id=3", "level=error"),
        ("level=info msg=\"sync\" err=\"disk is gone\"", "err=\"d"),
        // Build servers.
        ("##[error]Process completed with exit code 1.", "##[error]"),
        ("::error file=cart.js,line=3::walrus is missing", "::error"),
        ("##vso[task.logissue type=error;code=9]walrus is missing", "type=error"),
        ("Build step 'Execute shell' marked build as failure\nFinished: FAILURE", "FAILURE"),
        ("Finished: ABORTED", "Finished: ABORTED"),
        ("Process exited with code 137", "exited with code 1"),
        ("command terminated with exit code 126", "terminated with exit code 1"),
        ("script failed: exit status 2", "exit status 2"),
    ];

    #[test]
    fn errors_of_many_tools_are_recognised() {
        for (line, part) in ERRORS {
            let found = telling_parts(line, 8);
            let is_told =
                found.iter().any(|range| line[range.clone()].contains(part) || part.contains(&line[range.clone()]));
            assert!(
                is_told,
                "{line}\n{part:?} is not in {:?}",
                found.iter().map(|range| &line[range.clone()]).collect::<Vec<_>>()
            );
            assert!(of(line) > Severity::Normal, "{line}");
        }
        let errors = ERRORS.iter().filter(|(line, _)| of(line) == Severity::Error).count();
        let only_words: Vec<&str> = ERRORS.iter().map(|(line, _)| *line).filter(|line| of(line) < Severity::Error).collect();
        assert_eq!(errors, ERRORS.len() - 2, "{only_words:#?}");
    }

    #[test]
    fn what_is_no_error_is_not_one() {
        for line in [
            "0 errors",
            "finished, failures: 0",
            "no warnings",
            "terror",
            "errors=0 failed=0",
            "Build succeeded. 0 Warning(s) 0 Error(s)",
            r#"{"id": 3, "err": null, "v": 9}"#,
            r#"{"error":"","errors":[],"exception":{},"failure":false,"err":"none"}"#,
            "level=info err=nil error=<nil> msg=done",
            "Action ended 10:02:11: InstallFinalize. Return value 1.",
            "process exited with code 0",
            "exit status 0",
            "\"GET /cart HTTP/1.1\" 200 503",
            "cart.cs(3,5): warning CS0168: The variable 'walrus' is declared but never used",
            "cart.cs(3,5): Warnung CS0168: Die Variable ist deklariert.",
            "src/cart.c:12:7: note: each of them is reported once",
            "<134>Apr  5 06:07:08 host cart: ready",
            r#"{"level":30,"msg":"ready"}"#,
            "mapped 0x80000000-0x8fffffff",
            "I0405 06:07:08.000000 812 cart.go:12] ready",
        ] {
            assert_eq!(of(line), Severity::Normal, "{line}: {:?}", telling_parts(line, 3));
        }
        // A word is weaker than the record's own level.
        assert_eq!(of(r#"{"level":"info","msg":"ERROR count is 3"}"#), Severity::Suspicious);
        assert_eq!(of("connection refused"), Severity::Suspicious);
        assert_eq!(of("error: 0 errors"), Severity::Suspicious);
    }
}
