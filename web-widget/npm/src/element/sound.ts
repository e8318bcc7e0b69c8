// Levels of what is said, and the tones of keys.

/** The two frequencies of a key in hertz (ITU-T Q.23). */
const ROWS = [697, 770, 852, 941];
const COLUMNS = [1209, 1336, 1477];
export const KEYS = ['1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '0', '#'];

const TONE_S = 0.14;
const TONE_GAIN = 0.06;
/** The voice's loudness at which a meter is full, as an effective value. */
const FULL = 0.2;

export class Sound {
  #context: AudioContext | undefined;
  readonly #watched = new Map<string, { stream: MediaStream; source: AudioNode; analyser: AnalyserNode }>();
  readonly #samples = new Float32Array(512);

  /** Browsers let a page begin with sound while a person touches it. */
  wake(): void {
    try {
      this.#context ??= new AudioContext({ latencyHint: 'interactive' });
      void this.#context.resume().catch(() => {});
    } catch {
      // Without it there are no meters and no tones; calls do not need it.
    }
  }

  /** How loud a stream is, 0 to 1. */
  level(name: string, stream: MediaStream | null): number {
    const context = this.#context;
    let watched = this.#watched.get(name);
    if (watched && watched.stream !== stream) {
      watched.source.disconnect();
      this.#watched.delete(name);
      watched = undefined;
    }
    if (!context || !stream || stream.getAudioTracks().length === 0) return 0;
    if (!watched) {
      const analyser = new AnalyserNode(context, { fftSize: this.#samples.length });
      const source = context.createMediaStreamSource(stream);
      source.connect(analyser);
      this.#watched.set(name, (watched = { stream, source, analyser }));
    }
    watched.analyser.getFloatTimeDomainData(this.#samples);
    const power = this.#samples.reduce((sum, sample) => sum + sample * sample, 0) / this.#samples.length;
    // Ears hear loudness by its logarithm; its square root comes near enough.
    return Math.min(1, Math.sqrt(Math.sqrt(power) / FULL));
  }

  tone(key: string): void {
    const index = KEYS.indexOf(key);
    const [row, column] = [ROWS[Math.floor(index / 3)], COLUMNS[index % 3]];
    if (row !== undefined && column !== undefined) this.#play([row, column], TONE_S);
  }

  /** Once of a telephone's bell. */
  ring(): void {
    this.#play([440, 554], 0.9);
  }

  #play(frequencies: number[], seconds: number): void {
    const context = this.#context;
    if (context?.state !== 'running') return;
    const now = context.currentTime;
    const gain = new GainNode(context, { gain: 0 });
    gain.gain.setTargetAtTime(TONE_GAIN, now, 0.005);
    gain.gain.setTargetAtTime(0, now + seconds, 0.01);
    gain.connect(context.destination);
    for (const frequency of frequencies) {
      const oscillator = new OscillatorNode(context, { frequency });
      oscillator.connect(gain);
      oscillator.start(now);
      oscillator.stop(now + seconds + 0.1);
    }
  }

  /** Lets go of all streams; the next call begins anew. */
  rest(): void {
    for (const { source } of this.#watched.values()) source.disconnect();
    this.#watched.clear();
    void this.#context?.close().catch(() => {});
    this.#context = undefined;
  }
}
