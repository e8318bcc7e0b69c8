// One call's microphone, peer connection and loudspeaker.

import { CodexError } from './error.js';
import { microphone, microphoneGranted } from './microphone.js';

/** How long candidates are waited for, in milliseconds, once one of a server's has come or none can come. */
const GATHERING_LIMIT_MS = 1000;
/** After the first candidate of a STUN or TURN server others are given so long. */
const GATHERING_GRACE_MS = 50;
/** How long a key sounds, in milliseconds. */
const TONE_MS = 160;
/** How long a connection that was made in advance is kept, in milliseconds: it holds sockets, and NATs forget. */
const PREPARED_FOR_MS = 60_000;

/** Who sends (RFC 3264 §8.4), seen from here. */
export type Direction = 'sendrecv' | 'sendonly' | 'recvonly' | 'inactive';

/** What a page chooses for all calls. */
export interface Devices {
  input?: string | undefined;
  output?: string | undefined;
  element?: HTMLAudioElement | undefined;
  /** A connection for the next call, made in advance. */
  prepared?: PreparedConnection | undefined;
}

/** How a microphone that is in use does: unplugged or taken away, and back. */
export type MicrophoneState = 'lost' | 'replaced';

/** What a session notices by itself. */
export interface MediaListener {
  ice(state: RTCIceConnectionState): void;
  broken(what: 'ice' | 'dtls'): void;
  microphone(state: MicrophoneState, fault?: CodexError): void;
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
  /** Whether the microphone has given anything since the last reading. */
  sourceHeard?: boolean | undefined;
  codec?: string | undefined;
}

/** Squares of a full-scale amplitude times seconds: less in 5 s is below -70 dBFS. */
const SILENT_ENERGY = 5e-7;

const NOTHING: Statistics = { packetsSent: 0, bytesSent: 0, packetsReceived: 0, bytesReceived: 0, packetsLost: 0 };

/** A connection whose candidates are gathered before anybody calls. It has no microphone yet. */
export class PreparedConnection {
  readonly connection: RTCPeerConnection;
  /** Its offer is there, with all addresses of this machine: browsers hide some before the microphone is allowed. */
  #complete = false;
  readonly #timer: ReturnType<typeof setTimeout>;

  constructor(configuration: RTCConfiguration) {
    this.connection = new RTCPeerConnection(configuration);
    this.connection.addTransceiver('audio', { direction: 'sendrecv' });
    this.#timer = setTimeout(() => this.close(), PREPARED_FOR_MS);
  }

  get closed(): boolean {
    return this.connection.signalingState === 'closed';
  }

  async gather(): Promise<void> {
    const granted = await microphoneGranted();
    if (this.closed) return;
    const gathered = gathering(this.connection);
    await this.connection.setLocalDescription(await this.connection.createOffer());
    await gathered;
    this.#complete = granted;
  }

  /** The connection, if nothing is missing of it; it is closed otherwise, and others gather again. */
  take(): RTCPeerConnection | undefined {
    clearTimeout(this.#timer);
    if (this.#complete && !this.closed) return this.connection;
    this.close();
    return undefined;
  }

  close(): void {
    clearTimeout(this.#timer);
    this.connection.close();
  }
}

/**
 * A connection's own descriptions always say `sendrecv`: hold is negotiated by the core without a new description, so that
 * it is done here by what is fed to the sender and by what is played.
 */
export class MediaSession {
  readonly #listener: MediaListener;
  readonly #devices: Devices;
  #connection: RTCPeerConnection | undefined;
  /** Another connection beside it, whose offer the far end has not answered. */
  #pending: RTCPeerConnection | undefined;
  #local: MediaStream | undefined;
  #remote: MediaStream | undefined;
  /** What goes out while we hold the call. A track of its own, since `enabled` of the microphone's is mute. */
  #silence: MediaStreamTrack | undefined;
  #direction: Direction = 'sendrecv';
  /** What went over connections before. */
  #before: Statistics = { ...NOTHING };
  #own: HTMLAudioElement | undefined;
  #muted = false;
  /** Of the microphone, at the last reading. */
  #energy = 0;
  #speakerMuted = false;
  #closed = false;
  #lost = false;
  #answer: string | undefined;
  #retryPlay: (() => void) | undefined;

  constructor(devices: Devices, listener: MediaListener) {
    this.#devices = devices;
    this.#listener = listener;
  }

  get local(): MediaStream | null {
    return this.#local ?? null;
  }

  get remote(): MediaStream | null {
    return this.#remote ?? null;
  }

  async offer(configuration: RTCConfiguration): Promise<string> {
    await this.#openMicrophone();
    const prepared = this.#devices.prepared?.take();
    this.#devices.prepared = undefined;
    if (prepared) {
      this.#connection = await this.#adopt(prepared);
      const sdp = prepared.localDescription?.sdp;
      if (sdp) return sdp;
    }
    const connection = (this.#connection = await this.#connect(configuration));
    return this.#describe(connection, await connection.createOffer());
  }

  /** Answers the far end's first offer, or one in the running call. */
  async answer(configuration: RTCConfiguration, offer: string): Promise<string> {
    const old = this.#connection;
    if (!old) return this.#answerOf(await this.#open(configuration), offer);
    await this.rollback();
    this.#answer = undefined;
    // Other keys are another far end, which not every browser lets a connection go over to.
    if (old.connectionState !== 'failed' && fingerprint(offer) === fingerprint(old.remoteDescription?.sdp)) {
      try {
        return await this.#answerOf(old, offer);
      } catch (error) {
        this.#listener.log('info', 'the offer does not fit the connection there is; another one is made', error);
        if (old.signalingState === 'have-remote-offer') await old.setRemoteDescription({ type: 'rollback' });
      }
    }
    const connection = await this.#connect(configuration);
    try {
      const sdp = await this.#answerOf(connection, offer);
      await this.#goOver(connection);
      return sdp;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** A second answer that is the first once more changes nothing. */
  async take(answer: string): Promise<void> {
    if (this.#answer === answer) return;
    const pending = this.#pending;
    await (pending ?? this.#connection)?.setRemoteDescription({ type: 'answer', sdp: bothWays(answer) });
    this.#answer = answer;
    if (pending) {
      this.#pending = undefined;
      await this.#goOver(pending);
    }
  }

  /** An offer by which the running call moves to where it works. */
  async restart(configuration: RTCConfiguration): Promise<string> {
    const connection = this.#connection;
    if (!connection) throw new CodexError('wrong_state', 'there is no media session to restart');
    await this.rollback();
    this.#answer = undefined;
    if (this.#found(connection) && connection.connectionState === 'failed') {
      // What ICE has found is in order, the keys are not: those are agreed once in a connection's life.
      const pending = (this.#pending = await this.#connect(configuration));
      return this.#describe(pending, await pending.createOffer());
    }
    connection.setConfiguration(configuration);
    connection.restartIce();
    return this.#describe(connection, await connection.createOffer({ iceRestart: true }));
  }

  /** What {@link restart} offered is not answered: what was before goes on. */
  async rollback(): Promise<void> {
    this.#pending?.close();
    this.#pending = undefined;
    const connection = this.#connection;
    // A first offer has nothing to go back to.
    if (connection?.signalingState === 'have-local-offer' && connection.currentRemoteDescription) {
      await connection.setLocalDescription({ type: 'rollback' });
    }
  }

  /** Silence instead of the microphone while we hold the call, nothing at all while the far end does. */
  async direct(direction: Direction): Promise<void> {
    this.#direction = direction;
    const element = this.#element();
    if (element) element.muted = this.#silent();
    await this.#feed(this.#connection);
    await this.#feed(this.#pending);
    if (direction !== 'sendonly') {
      this.#silence?.stop();
      this.#silence = undefined;
    }
  }

  mute(muted: boolean): void {
    this.#muted = muted;
    for (const track of this.#local?.getAudioTracks() ?? []) track.enabled = !muted;
  }

  muteSpeaker(muted: boolean): void {
    this.#speakerMuted = muted;
    const element = this.#element();
    if (element) element.muted = this.#silent();
  }

  /** False if the far end takes no keys by RFC 4733. */
  press(tone: string): boolean {
    const dtmf = this.#connection?.getSenders()[0]?.dtmf;
    if (!dtmf?.canInsertDTMF) return false;
    dtmf.insertDTMF(dtmf.toneBuffer + tone, TONE_MS);
    return true;
  }

  async useInput(): Promise<void> {
    if (this.#connection && this.#local) await this.#takeInput(this.#devices.input);
  }

  async #takeInput(device: string | undefined): Promise<void> {
    const stream = await microphone(device);
    if (this.#closed) return stop(stream);
    const before = this.#local;
    this.#use(stream);
    await this.#feed(this.#connection);
    await this.#feed(this.#pending);
    if (before) stop(before);
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
    const found: Statistics = { ...this.#before };
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
      } else if (entry['type'] === 'media-source' && 'totalAudioEnergy' in entry) {
        // A microphone that works hears the room; what is muted or on hold is silent for another reason.
        const energy = number('totalAudioEnergy');
        if (!this.#muted && this.#direction === 'sendrecv') found.sourceHeard = energy - this.#energy > SILENT_ENERGY;
        this.#energy = energy;
      }
    });
    return found;
  }

  close(): void {
    this.#closed = true;
    navigator.mediaDevices?.removeEventListener('devicechange', this.#deviceChanged);
    this.#connection?.close();
    this.#pending?.close();
    this.#silence?.stop();
    if (this.#local) stop(this.#local);
    const element = this.#element();
    if (element && element.srcObject === this.#remote) element.srcObject = null;
    this.#forgetGesture();
    this.#connection = this.#pending = this.#silence = this.#local = this.#remote = this.#own = undefined;
  }

  async #open(configuration: RTCConfiguration): Promise<RTCPeerConnection> {
    await this.#openMicrophone();
    return (this.#connection = await this.#connect(configuration));
  }

  async #openMicrophone(): Promise<void> {
    const stream = await microphone(this.#devices.input);
    if (this.#closed) {
      stop(stream);
      throw new CodexError('wrong_state', 'the call ended before the microphone was open');
    }
    this.#use(stream);
    navigator.mediaDevices.addEventListener('devicechange', this.#deviceChanged);
  }

  #use(stream: MediaStream): void {
    this.#local = stream;
    this.mute(this.#muted);
    const track = stream.getAudioTracks()[0];
    track?.addEventListener('ended', () => {
      if (!this.#closed && this.#local === stream) void this.#replaceMicrophone();
    });
  }

  /** The microphone is gone; another takes its place if there is one, else the first that is plugged in. */
  async #replaceMicrophone(): Promise<void> {
    this.#lost = true;
    this.#listener.log('warn', 'the microphone is gone');
    for (const device of new Set([this.#devices.input, undefined])) {
      try {
        await this.#takeInput(device);
        this.#lost = false;
        this.#listener.microphone('replaced');
        return;
      } catch (fault) {
        if (this.#closed) return;
        if (device === undefined) this.#listener.microphone('lost', fault instanceof CodexError ? fault : undefined);
      }
    }
  }

  readonly #deviceChanged = (): void => {
    if (this.#lost) void this.#replaceMicrophone();
    // What is heard goes to the loudspeaker that is chosen, or to the browser's choice while that is not there.
    else if (this.#devices.output) void this.#play();
  };

  /** A connection for the microphone that is open. What it notices counts once it is the one in use. */
  async #connect(configuration: RTCConfiguration): Promise<RTCPeerConnection> {
    // No `max-bundle`: gateways that answer without a BUNDLE group, as rtpengine does, would be refused.
    const connection = new RTCPeerConnection(configuration);
    const track = this.#local?.getAudioTracks()[0];
    if (track && this.#local) connection.addTrack(track, this.#local);
    return this.#adopt(connection);
  }

  async #adopt(connection: RTCPeerConnection): Promise<RTCPeerConnection> {
    const current = (): boolean => !this.#closed && this.#connection === connection;
    connection.oniceconnectionstatechange = () => {
      if (!current()) return;
      this.#listener.ice(connection.iceConnectionState);
      // In a call that is up, the core has the media restarted.
      if (connection.iceConnectionState === 'failed') this.#listener.broken('ice');
    };
    connection.onconnectionstatechange = () => {
      if (current() && connection.connectionState === 'failed' && this.#found(connection)) this.#listener.broken('dtls');
    };
    connection.ontrack = (event) => {
      this.#remote = event.streams[0] ?? new MediaStream([event.track]);
      void this.#play();
    };
    // One that was made in advance has no microphone, and hold has another source.
    if (this.#direction !== 'sendrecv' || !connection.getSenders()[0]?.track) await this.#feed(connection);
    return connection;
  }

  #found(connection: RTCPeerConnection): boolean {
    return connection.iceConnectionState === 'connected' || connection.iceConnectionState === 'completed';
  }

  /** `connection` takes the place of the one that was in use. */
  async #goOver(connection: RTCPeerConnection): Promise<void> {
    const {
      jitterMs: _jitter,
      roundTripMs: _roundTrip,
      sourceHeard: _heard,
      codec: _codec,
      ...sums
    } = await this.statistics();
    if (this.#closed) return connection.close();
    this.#before = sums;
    this.#connection?.close();
    this.#connection = connection;
    this.#listener.ice(connection.iceConnectionState);
  }

  /** Has `connection` send what the direction asks for. */
  async #feed(connection: RTCPeerConnection | undefined): Promise<void> {
    const sender = connection?.getSenders()[0];
    const track = this.#local?.getAudioTracks()[0];
    if (!sender || !track) return;
    if (this.#direction === 'sendonly' && !this.#silence) {
      this.#silence = track.clone();
      this.#silence.enabled = false;
    }
    const source = { sendrecv: track, sendonly: this.#silence, recvonly: undefined, inactive: undefined }[this.#direction];
    await sender.replaceTrack(source ?? null);
  }

  #silent(): boolean {
    return this.#speakerMuted || this.#direction === 'sendonly' || this.#direction === 'inactive';
  }

  async #answerOf(connection: RTCPeerConnection, offer: string): Promise<string> {
    await connection.setRemoteDescription({ type: 'offer', sdp: bothWays(offer) });
    const sdp = await this.#describe(connection, await connection.createAnswer());
    const answering = { sendonly: 'recvonly', recvonly: 'sendonly', inactive: 'inactive' }[oneWay(offer) ?? ''];
    return answering ? sdp.replace(/^a=sendrecv(?=\r?$)/m, `a=${answering}`) : sdp;
  }

  async #describe(connection: RTCPeerConnection, description: RTCSessionDescriptionInit): Promise<string> {
    // Where the description keeps to ICE as it is, no candidates come.
    const anew = ufrag(description.sdp) !== ufrag(connection.localDescription?.sdp);
    const gathered = anew ? gathering(connection) : undefined;
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
    element.muted = this.#silent();
    try {
      if (this.#devices.output !== undefined && 'setSinkId' in element) {
        await element.setSinkId(this.#devices.output).catch((error: unknown) => {
          this.#listener.log('warn', 'the loudspeaker that was chosen is not there; the browser\'s choice is used', error);
          return element.setSinkId('');
        });
      }
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

function fingerprint(sdp: string | undefined): string | undefined {
  return /^a=fingerprint:(.*?)\r?$/im.exec(sdp ?? '')?.[1]?.trim().toLowerCase();
}

function ufrag(sdp: string | undefined): string | undefined {
  return /^a=ice-ufrag:(.*?)\r?$/m.exec(sdp ?? '')?.[1];
}

/** The parts of a description that concern audio, and the others. */
function sections(sdp: string): { text: string; audio: boolean }[] {
  return sdp.split(/^(?=m=)/m).map((text) => ({ text, audio: !/^m=(?!audio)/.test(text) }));
}

const ONE_WAY = /^a=(sendonly|recvonly|inactive)(?=\r?$)/m;

/** The direction of the audio if it is not both. */
function oneWay(sdp: string): string | undefined {
  for (const { text, audio } of sections(sdp)) {
    const found = audio ? ONE_WAY.exec(text)?.[1] : undefined;
    if (found) return found;
  }
  return undefined;
}

/** The same description with audio both ways. */
function bothWays(sdp: string): string {
  return sections(sdp)
    .map(({ text, audio }) => (audio ? text.replace(ONE_WAY, 'a=sendrecv') : text))
    .join('');
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
