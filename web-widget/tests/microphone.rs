//! `codex-call --mic`: a microphone that hears a tone and a speaker that is recorded, both of a PulseAudio that this test
//! starts (Debian: pulseaudio, pulseaudio-utils, libasound2-plugins).

#![cfg(all(target_os = "linux", feature = "audio-device"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Stdio;
use std::time::Duration;

use codex_e2e::audio::Audio;
use codex_e2e::codex_call::{Call, keys};
use codex_e2e::gateway::{Gateway, GatewayEvent, Voicebot};
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

const PATIENCE: Duration = Duration::from_secs(40);
/// What the microphone hears, and what the far end says.
const SPOKEN_HZ: f64 = 700.0;
const HEARD_HZ: f64 = 1000.0;

/// A sound server with one microphone and one speaker. It ends when it is dropped.
struct SoundServer {
    folder: TempDir,
    _process: Child,
}

impl SoundServer {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let script = format!(
            "load-module module-native-protocol-unix auth-anonymous=1 socket={}\n\
             load-module module-null-sink sink_name=speaker rate=48000 channels=1\n\
             load-module module-null-sink sink_name=room rate=48000 channels=1\n\
             load-module module-sine sink=room frequency={SPOKEN_HZ}\n\
             set-default-sink speaker\n\
             set-default-source room.monitor\n",
            path("native")
        );
        std::fs::write(path("default.pa"), script).unwrap();
        std::fs::write(path("asound.conf"), "pcm.!default { type pulse }\nctl.!default { type pulse }\n").unwrap();
        let process = Self::command("pulseaudio", &folder)
            .args(["-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "--disable-shm=yes", "-F"])
            .arg(path("default.pa"))
            .stderr(Stdio::null())
            .spawn()
            .expect("pulseaudio starts");
        let server = Self { folder, _process: process };
        let listening = async {
            while UnixStream::connect(server.path("native")).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, listening).await.expect("pulseaudio listens");
        server
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn variables(folder: &TempDir) -> [(&'static str, String); 4] {
        let path = folder.path().display();
        [
            ("HOME", path.to_string()),
            ("XDG_RUNTIME_DIR", path.to_string()),
            ("PULSE_SERVER", format!("unix:{path}/native")),
            ("ALSA_CONFIG_PATH", format!("/usr/share/alsa/alsa.conf:{path}/asound.conf")),
        ]
    }

    fn command(program: &str, folder: &TempDir) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).envs(Self::variables(folder));
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        command
    }
}

#[tokio::test]
async fn the_sound_card_speaks_and_listens() {
    let sound = SoundServer::start().await;
    let played = sound.path("played.wav");
    let mut recorder = SoundServer::command("parec", &sound.folder)
        .args([
            "--device=speaker.monitor",
            "--file-format=wav",
            "--rate=48000",
            "--channels=1",
            "--format=s16le",
            "--latency-msec=50",
        ])
        .arg(&played)
        .spawn()
        .expect("parec starts");
    let mut gateway = Gateway::builder().voicebot(Voicebot::Tone(HEARD_HZ)).start().await.unwrap();
    let mut call = Call::new(std::path::Path::new(env!("CARGO_BIN_EXE_codex-call")), &keys(&gateway));
    for (name, value) in SoundServer::variables(&sound.folder) {
        call = call.env(name, &value);
    }
    let run = call.args(["--mic", "--duration", "5s", "--expect-audio", "--json"]).run().await;
    assert_eq!(run.status, 0, "{run}");
    let ending = async {
        loop {
            if let GatewayEvent::Ended { heard, .. } = gateway.next_event().await.expect("the gateway runs") {
                return heard;
            }
        }
    };
    let heard = tokio::time::timeout(PATIENCE, ending).await.expect("the call ends");
    let share = heard.tone_share(SPOKEN_HZ);
    assert!(share > 0.5, "the far end hears the microphone: {share:.2} of what it heard is at {SPOKEN_HZ} Hz: {run}");

    let id = recorder.id().expect("it records").to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    tokio::time::timeout(PATIENCE, recorder.wait()).await.expect("parec ends").unwrap();
    let played = Audio::read_wav(std::path::Path::new(&played)).unwrap();
    let end = played.seconds();
    let loud: Vec<_> = (1..)
        .map(|second| f64::from(second) * 0.5)
        .take_while(|from| from + 0.5 <= end)
        .filter_map(|from| played.between(from, from + 0.5).strongest_tone(300.0, 3000.0))
        .map(|(hz, _)| hz)
        .collect();
    let at_pitch = loud.iter().filter(|hz| (**hz - HEARD_HZ).abs() < 20.0).count();
    assert!(at_pitch >= 4, "the speaker plays the far end; strongest in each half of {end:.1} s: {loud:?}");
}

#[tokio::test]
async fn without_a_sound_card_it_says_what_to_do() {
    let gateway = Gateway::builder().start().await.unwrap();
    for (lang, words) in [("en", "without one, send a tone"), ("ru", "без него можно передать тон")]
    {
        let run = Call::new(std::path::Path::new(env!("CARGO_BIN_EXE_codex-call")), &keys(&gateway))
            .env("ALSA_CONFIG_PATH", "/dev/null")
            .args(["--mic", "--lang", lang])
            .run()
            .await;
        assert!(run.status == 10 && run.stderr.contains(words), "{run}");
    }
}
