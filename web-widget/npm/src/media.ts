// One call's microphone, peer connection and loudspeaker.

import { CodexError } from './error.js';

/** How long candidates are waited for, in milliseconds, once one of a server's has come or none can come. */
const GATHERING_LIMIT_MS = 1000;
/** After the first candidate of a STUN or TURN server others are given so long. */
const GATHERING_GRACE_MS = 50;
/** How long a key sounds, in milliseconds. */
const TONE_MS = 160;

/** What a page chooses for all calls. */
export interface Devices {
  input?: string | undefined;
  output?: string | undefined;
  element?: HTMLAudioElement | undefined;
}

/** What a session notices by itself. */
export interface MediaListener {
  ice(state: RTCIceConnectionState): void;
  broken(what: 'ice' | 'dtls'): void;
  log(level: 'info' | 'warn', message: string, error?: unknown): void;
}

/** `getStats`, as the core takes it. */
export interface Statistics {
  packetsSent: number;
  bytesSent: number;
  packetsReceived: number;
  bytesReceived: number;
  packetsLost: number;
  jitterMs?: number | undefined;
  roundTripMs?: number | undefined;
  codec?: string | undefined;
}

export class MediaSession {
  readonly #listener: MediaListener;
  readonly #devices: Devices;
  #connection: RTCPeerConnection | undefined;
  #local: MediaStream | undefined;
  #remote: MediaStream | undefined;
  #sender: RTCRtpSender | undefined;
  #own: HTMLAudioElement | undefined;
  #muted = false;
  #speakerMuted = false;
  #closed = false;
  #answer: string | undefined;
  #retryPlay: (() => void) | undefined;

  constructor(devices: Devices, listener: MediaListener) {
    this.#devices = devices;
    this.#listener = listener;
  }

  get local(): MediaStream | null {
    return this.#local ?? null;
  }

  async offer(configuration: RTCConfiguration): Promise<string> {
    const connection = await this.#open(configuration);
    return this.#describe(connection, await connection.createOffer());
  }

  async answer(configuration: RTCConfiguration, offer: string): Promise<string> {
    const connection = await this.#open(configuration);
    await connection.setRemoteDescription({ type: 'offer', sdp: offer });
    return this.#describe(connection, await connection.createAnswer());
  }

  /** A second answer that is the first once more changes nothing. */
  async take(answer: string): Promise<void> {
    if (this.#answer === answer) return;
    await this.#connection?.setRemoteDescription({ type: 'answer', sdp: answer });
    this.#answer = answer;
  }

  mute(muted: boolean): void {
    this.#muted = muted;
    for (const track of this.#local?.getAudioTracks() ?? []) track.enabled = !muted;
  }

  muteSpeaker(muted: boolean): void {
    this.#speakerMuted = muted;
    const element = this.#element();
    if (element) element.muted = muted;
  }

  /** False if the far end takes no keys by RFC 4733. */
  press(tone: string): boolean {
    const dtmf = this.#sender?.dtmf;
    if (!dtmf?.canInsertDTMF) return false;
    dtmf.insertDTMF(dtmf.toneBuffer + tone, TONE_MS);
    return true;
  }

  async useInput(): Promise<void> {
    if (!this.#sender || !this.#local) return;
    const stream = await microphone(this.#devices.input);
    const track = stream.getAudioTracks()[0];
    if (this.#closed || !track) return stop(stream);
    track.enabled = !this.#muted;
    await this.#sender.replaceTrack(track);
    stop(this.#local);
    this.#local = stream;
  }

  /** Plays through the element and the device that are chosen now. */
  async useOutput(): Promise<void> {
    if (this.#own && this.#devices.element && this.#own !== this.#devices.element) {
      this.#own.srcObject = null;
      this.#own = undefined;
    }
    await this.#play();
  }

  async statistics(): Promise<Statistics> {
    const found: Statistics = { packetsSent: 0, bytesSent: 0, packetsReceived: 0, bytesReceived: 0, packetsLost: 0 };
    const report = await this.#connection?.getStats();
    // Members of the W3C's identifiers for WebRTC statistics, which `lib.dom` knows in part.
    report?.forEach((entry: Record<string, unknown>) => {
      const number = (name: string): number => Number(entry[name] ?? 0);
      if (entry['type'] === 'outbound-rtp') {
        found.packetsSent += number('packetsSent');
        found.bytesSent += number('bytesSent');
      } else if (entry['type'] === 'inbound-rtp') {
        found.packetsReceived += number('packetsReceived');
        found.bytesReceived += number('bytesReceived');
        found.packetsLost += Math.max(0, number('packetsLost'));
        found.jitterMs = number('jitter') * 1000;
        const codec = report.get(String(entry['codecId'])) as { mimeType?: string } | undefined;
        found.codec = codec?.mimeType?.split('/')[1];
      } else if (entry['type'] === 'candidate-pair' && entry['nominated'] === true && 'currentRoundTripTime' in entry) {
        found.roundTripMs = number('currentRoundTripTime') * 1000;
      }
    });
    return found;
  }

  close(): void {
    this.#closed = true;
    this.#connection?.close();
    if (this.#local) stop(this.#local);
    const element = this.#element();
    if (element && element.srcObject === this.#remote) element.srcObject = null;
    this.#forgetGesture();
    this.#connection = this.#sender = this.#local = this.#remote = this.#own = undefined;
  }

  async #open(configuration: RTCConfiguration): Promise<RTCPeerConnection> {
    const stream = await microphone(this.#devices.input);
    if (this.#closed) {
      stop(stream);
      throw new CodexError('wrong_state', 'the call ended before the microphone was open');
    }
    this.#local = stream;
    this.mute(this.#muted);
    // No `max-bundle`: gateways that answer without a BUNDLE group, as rtpengine does, would be refused.
    const connection = new RTCPeerConnection(configuration);
    this.#connection = connection;
    const track = stream.getAudioTracks()[0];
    if (track) {
      this.#sender = connection.addTrack(track, stream);
      track.addEventListener('ended', () => {
        if (!this.#closed) this.#listener.log('warn', 'the microphone is gone');
      });
    }
    connection.oniceconnectionstatechange = () => {
      if (this.#closed) return;
      this.#listener.ice(connection.iceConnectionState);
      if (connection.iceConnectionState === 'failed') this.#listener.broken('ice');
    };
    connection.onconnectionstatechange = () => {
      const found = connection.iceConnectionState === 'connected' || connection.iceConnectionState === 'completed';
      if (!this.#closed && connection.connectionState === 'failed' && found) this.#listener.broken('dtls');
    };
    connection.ontrack = (event) => {
      this.#remote = event.streams[0] ?? new MediaStream([event.track]);
      void this.#play();
    };
    return connection;
  }

  async #describe(connection: RTCPeerConnection, description: RTCSessionDescriptionInit): Promise<string> {
    const gathered = gathering(connection);
    await connection.setLocalDescription(description);
    await gathered;
    return connection.localDescription?.sdp ?? '';
  }

  #element(): HTMLAudioElement | undefined {
    return this.#devices.element ?? this.#own;
  }

  async #play(): Promise<void> {
    if (!this.#remote || this.#closed) return;
    if (!this.#devices.element) this.#own ??= new Audio();
    const element = this.#element();
    if (!element) return;
    if (element.srcObject !== this.#remote) element.srcObject = this.#remote;
    element.muted = this.#speakerMuted;
    try {
      if (this.#devices.output !== undefined && 'setSinkId' in element) await element.setSinkId(this.#devices.output);
      await element.play();
    } catch (error) {
      if (this.#closed || (error as DOMException).name === 'AbortError') return;
      this.#listener.log('warn', 'the browser does not play sound before the visitor touches the page', error);
      this.#forgetGesture();
      this.#retryPlay = () => {
        this.#forgetGesture();
        void this.#play();
      };
      addEventListener('pointerdown', this.#retryPlay);
      addEventListener('keydown', this.#retryPlay);
    }
  }

  #forgetGesture(): void {
    if (!this.#retryPlay) return;
    removeEventListener('pointerdown', this.#retryPlay);
    removeEventListener('keydown', this.#retryPlay);
    this.#retryPlay = undefined;
  }
}

function stop(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}

/** Comes back when all candidates are there, or enough of them. */
function gathering(connection: RTCPeerConnection): Promise<void> {
  return new Promise((resolve) => {
    let timer = setTimeout(done, GATHERING_LIMIT_MS);
    function done(): void {
      clearTimeout(timer);
      connection.onicegatheringstatechange = connection.onicecandidate = null;
      resolve();
    }
    connection.onicegatheringstatechange = () => {
      if (connection.iceGatheringState === 'complete') done();
    };
    connection.onicecandidate = ({ candidate }) => {
      if (!candidate) return done();
      if (candidate.type === 'srflx' || candidate.type === 'relay') {
        clearTimeout(timer);
        timer = setTimeout(done, GATHERING_GRACE_MS);
      }
    };
  });
}

/** Opens the microphone; an error says which of the things that can be wrong is. */
async function microphone(device: string | undefined): Promise<MediaStream> {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new CodexError('microphone_insecure', 'the page is not secure: browsers give the microphone over https only');
  }
  try {
    const audio: MediaTrackConstraints = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
    if (device !== undefined) audio.deviceId = { exact: device };
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    const { name, message } = error as DOMException;
    const [code, problem] =
      name === 'NotAllowedError'
        ? allowedByPolicy()
          ? ['microphone_denied', 'the visitor did not allow the microphone']
          : ['microphone_policy', 'the page may not use the microphone: its Permissions-Policy, or the frame, forbids it']
        : name === 'NotFoundError' || name === 'OverconstrainedError'
          ? ['microphone_none', 'there is no microphone']
          : name === 'NotReadableError' || name === 'AbortError'
            ? ['microphone_in_use', 'the microphone is in use elsewhere, or broken']
            : ['microphone', `the microphone cannot be used: ${message}`];
    throw new CodexError(code as string, problem as string, error);
  }
}

function allowedByPolicy(): boolean {
  const policy = (document as { featurePolicy?: { allowsFeature(name: string): boolean } }).featurePolicy;
  return policy?.allowsFeature('microphone') ?? true;
}
