//! What `codex-call` draws on a terminal, as a terminal shows it.

#![cfg(target_os = "linux")]

use std::process::Stdio;
use std::time::Duration;

use codex_e2e::codex_call::keys;
use codex_e2e::gateway::{Gateway, Voicebot};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

const PATIENCE: Duration = Duration::from_secs(40);

/// A terminal of so many columns, without an end below. It knows what `codex-call` may use: line feed, carriage return,
/// and clearing to the end of the line.
struct Terminal {
    columns: usize,
    lines: Vec<Vec<char>>,
    column: usize,
    /// Everything that stood in the last line whenever the cursor went back to its beginning.
    frames: Vec<String>,
    /// Lines that went on in the next one by their length.
    wrapped: Vec<String>,
}

impl Terminal {
    fn show(columns: usize, bytes: &str) -> Self {
        let mut terminal =
            Self { columns, lines: vec![Vec::new()], column: 0, frames: Vec::new(), wrapped: Vec::new() };
        let mut rest = bytes.chars();
        while let Some(c) = rest.next() {
            match c {
                '\r' => {
                    let frame: String = terminal.last().iter().collect();
                    if terminal.frames.last() != Some(&frame) {
                        terminal.frames.push(frame);
                    }
                    terminal.column = 0;
                }
                '\n' => terminal.lines.push(Vec::new()),
                '\u{1b}' => {
                    let sequence: String = rest.by_ref().take(2).collect();
                    assert_eq!(sequence, "[K", "no other sequence is drawn with");
                    let column = terminal.column;
                    terminal.last().truncate(column);
                }
                c => {
                    assert!(!c.is_control(), "a control character: {c:?}");
                    terminal.put(c);
                }
            }
        }
        terminal
    }

    fn last(&mut self) -> &mut Vec<char> {
        self.lines.last_mut().expect("there is always one")
    }

    fn put(&mut self, c: char) {
        if self.column == self.columns {
            let line = self.last().iter().collect();
            self.wrapped.push(line);
            self.lines.push(Vec::new());
            self.column = 0;
        }
        let column = self.column;
        let line = self.last();
        line.resize(line.len().max(column + 1), ' ');
        line[column] = c;
        self.column += 1;
    }

    fn text(&self) -> String {
        self.lines.iter().map(|line| line.iter().collect::<String>() + "\n").collect()
    }
}

/// Runs the program on a terminal of this width; `interrupt` presses Ctrl-C once that is on the screen.
async fn on_terminal(gateway: &Gateway, columns: usize, arguments: &str, interrupt: Option<&str>) -> (String, i32) {
    let program = env!("CARGO_BIN_EXE_codex-call");
    let mut command = Command::new("script");
    command
        .args(["--quiet", "--return", "--command"])
        .arg(format!("stty cols {columns} rows 24; exec {program} {arguments}"))
        .arg("/dev/null")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("SHELL", "/bin/sh")
        .envs(keys(gateway))
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().expect("script (Debian: bsdutils) starts");
    let mut keyboard = child.stdin.take().expect("its input");
    let mut output = child.stdout.take().expect("its output");
    let mut bytes = Vec::new();
    let mut pressed = false;
    let reading = async {
        let mut piece = [0; 4096];
        loop {
            let length = output.read(&mut piece).await.expect("what is drawn can be read");
            if length == 0 {
                break;
            }
            bytes.extend_from_slice(&piece[..length]);
            let shown = String::from_utf8_lossy(&bytes);
            if !pressed && interrupt.is_some_and(|wanted| shown.contains(wanted)) {
                pressed = true;
                tokio::io::AsyncWriteExt::write_all(&mut keyboard, b"\x03").await.expect("a key can be pressed");
            }
        }
        child.wait().await.expect("it ends")
    };
    let status = tokio::time::timeout(PATIENCE, reading).await.expect("it ends in time");
    (String::from_utf8(bytes).expect("what is drawn is UTF-8"), status.code().unwrap_or(-1))
}

fn is_meter(line: &str) -> bool {
    line.contains('[') && line.contains(']') && line.contains(":0")
}

#[tokio::test]
async fn meters_move_in_one_line_and_leave_nothing_behind() {
    let gateway = Gateway::builder().voicebot(Voicebot::Tone(700.0)).start().await.unwrap();
    for (lang, over) in [("en", "call over"), ("ru", "звонок окончен")] {
        for columns in [80, 40] {
            let arguments = format!("--tone 440 --duration 2s --lang {lang}");
            let (bytes, status) = on_terminal(&gateway, columns, &arguments, None).await;
            assert_eq!(status, 0, "{bytes}");
            let terminal = Terminal::show(columns, &bytes);
            let text = terminal.text();
            let meters: Vec<_> = terminal.frames.iter().filter(|frame| is_meter(frame)).collect();
            assert!(meters.len() >= 5, "meters of {columns} columns are drawn: {:?}\n{text}", terminal.frames);
            assert!(meters.iter().any(|meter| meter.contains('#')), "one moves: {meters:?}");
            assert!(meters.iter().all(|meter| meter.chars().count() < columns), "{meters:?}");
            assert!(!terminal.wrapped.iter().any(|line| is_meter(line)), "{:?}", terminal.wrapped);
            assert!(!text.lines().any(is_meter), "nothing of them stays:\n{text}");
            assert!(text.contains(over), "{text}");
        }
    }
}

#[tokio::test]
async fn ctrl_c_clears_the_meters_and_says_good_bye() {
    let gateway = Gateway::builder().voicebot(Voicebot::Tone(700.0)).start().await.unwrap();
    for columns in [80, 40] {
        let (bytes, status) = on_terminal(&gateway, columns, "--tone 440 --lang en", Some("##")).await;
        assert_eq!(status, 0, "{bytes}");
        let terminal = Terminal::show(columns, &bytes);
        let text = terminal.text();
        assert!(!text.lines().any(is_meter) && !text.contains("^C"), "{text}");
        assert!(text.contains("call over") && text.contains("unregistered"), "{text}");
    }
}

#[tokio::test]
async fn a_dumb_terminal_gets_lines_only() {
    let gateway = Gateway::builder().voicebot(Voicebot::Tone(700.0)).start().await.unwrap();
    let arguments = "--tone 440 --duration 1s --lang en";
    let program = env!("CARGO_BIN_EXE_codex-call");
    let output = Command::new("script")
        .args([
            "--quiet",
            "--return",
            "--command",
            &format!("export TERM=dumb; exec {program} {arguments}"),
            "/dev/null",
        ])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("SHELL", "/bin/sh")
        .envs(keys(&gateway))
        .current_dir("/")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, output).await.expect("it ends in time").unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("call over") && !text.contains('\u{1b}'), "{text}");
}
