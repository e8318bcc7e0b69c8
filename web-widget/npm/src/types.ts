// What goes in and what comes out, under the names of the older packages.

/** Who is calling and why. Goes with the call as `X-Customer-Data` and `User-to-User`. */
export interface CustomerData {
  /** The customer's id in your own system. */
  clientId?: string;
  /** The customer's name. */
  clientName?: string;
  /** The kind of call, such as `webcall`, `mobile`, `desktop`. Not empty. */
  callType: string;
  /** The visitor's session in your own system. */
  sessionId?: string;
  /** When the call was asked for, as RFC 3339 writes it. */
  timestamp?: string;
  /** The browser or device. */
  userAgent?: string;
  /** Where the customer is. */
  location?: { country?: string; city?: string; region?: string };
  /** Whatever else you need. */
  customFields?: Record<string, unknown>;
}

/** What `createClient` takes: keys and values as they stand in a `.env` file, with or without `VITE_` before the name. */
export interface EnvConfig extends EnvSettings {
  JAMBONZ_SIP_USERNAME: string;
  JAMBONZ_SIP_PASSWORD: string;
}

/** The same where no password stands in the page. */
export interface TokenEnvConfig extends EnvSettings {
  /**
   * An address that answers a POST with short-lived credentials:
   * `{"username","password","expires" (RFC 3339),"applicationName"?}`. Asked when they are needed.
   */
  TOKEN_URL: string;
}

export interface EnvSettings {
  /** The account's SIP realm. */
  JAMBONZ_SIP_DOMAIN: string;
  /** The edge, such as `wss://sip.example.com:8443`. */
  JAMBONZ_WSS_ADDRESS: string;
  /** Whom to call; sent as it is. */
  TARGET_SIP_URI: string;
  /** The readable name of what is called. */
  TARGET_APPLICATION_NAME?: string;
  DEFAULT_LANG?: string;
  FALLBACK_LANG?: string;
  /** Separated by commas or white space. */
  STUN_URLS?: string;
  TURN_URLS?: string;
  TURN_USERNAME?: string;
  TURN_PASSWORD?: string;
  ICE_TRANSPORT_POLICY?: string;
  MAX_REGISTER_RETRIES?: string | number;
  INFINITE_RECONNECT?: string | boolean;
  /** Milliseconds, 0 is off. */
  KEEP_ALIVE_INTERVAL?: string | number;
  /** `CustomerData` as JSON. */
  CUSTOMER_DATA?: string;
  USER_TO_USER_ENCODING?: 'hex' | 'base64' | 'off';
  /** Not used in a page: a page looks up no names. */
  JAMBONZ_API_BASE_URL?: string;
  /** Any other key is let be. */
  [key: string]: unknown;
}

/** What `new CodexSipClient` takes. */
export interface SipClientConfig extends SipSettings {
  username: string;
  password: string;
  tokenUrl?: string;
}

/** The same where no password stands in the page. */
export interface TokenSipClientConfig extends SipSettings {
  /** See {@link TokenEnvConfig.TOKEN_URL}. */
  tokenUrl: string;
}

export interface SipSettings {
  domain: string;
  wssServer: string;
  targetUri: string;
  iceServers?: RTCIceServer[];
  iceTransportPolicy?: 'all' | 'relay';
  defaultLanguage?: string;
  fallbackLanguage?: string;
  customerData?: CustomerData;
  targetApplicationName?: string;
  userToUserEncoding?: 'hex' | 'base64' | 'off';
  /** 5 unless set. */
  maxRegisterRetries?: number;
  /** `true` unless set. */
  infiniteReconnect?: boolean;
  /** Milliseconds; 30,000 unless set, 0 is off. */
  keepAliveInterval?: number;
  /** Lines `Name: value`. */
  extraHeaders?: string[];
  onMetrics?: (event: MetricsEvent) => void;
  onLog?: (event: LogEvent) => void;
}

/** How to call; what is left out comes from the configuration. */
export interface StartCallOptions {
  language?: string;
  /** Lines `Name: value`, added to those of the configuration. */
  extraHeaders?: string[];
  targetUri?: string;
  /** Replaces the configured data as a whole. */
  customerData?: CustomerData;
}

export interface AcceptCallOptions {
  language?: string;
}

export type CallState =
  | 'idle'
  | 'registering'
  | 'connecting'
  | 'ringing'
  | 'incoming'
  | 'connected'
  | 'ended'
  | 'error';

export interface CallStateEvent {
  state: CallState;
  reason?: string;
  causeCode?: number;
  callId?: string;
  tag?: string;
  applicationName?: string;
  customerData?: CustomerData;
  /** How the caller is shown, such as `webcall:kqzmwbtr → voicebot`. */
  displayFrom?: string;
  displayTo?: string;
  /** Why, as a word for programs. */
  code?: string;
}

export interface IncomingCallEvent {
  callId?: string;
  from?: string;
  to?: string;
  displayFrom?: string;
  displayTo?: string;
  tag?: string;
  applicationName?: string;
  customerData?: CustomerData;
}

export interface RegistrationEvent {
  state: 'registering' | 'registered' | 'unregistered' | 'failed';
  attempt?: number;
  reason?: string;
  /** Why, as a word for programs. */
  code?: string;
}

export interface MetricsEvent {
  /** Milliseconds since 1970. */
  ts: number;
  callId?: string;
  tag?: string;
  iceState?: RTCIceConnectionState;
  rttMs?: number;
  jitterMs?: number;
  lossPercent?: number;
  bytesSent?: number;
  bytesReceived?: number;
  packetsSent?: number;
  packetsReceived?: number;
  /** Estimated mean opinion score, 1.0 to 4.5. */
  mos?: number;
  language?: string;
  applicationName?: string;
  customerData?: CustomerData;
}

export interface IceEvent {
  state: RTCIceConnectionState;
  callId?: string;
  tag?: string;
  applicationName?: string;
  customerData?: CustomerData;
}

export interface DtmfEvent {
  tone: string;
  callId?: string;
  tag?: string;
  applicationName?: string;
  customerData?: CustomerData;
}

/** The call was put on hold or taken back, by either end. */
export interface HoldEvent {
  /** We hold it: the far end hears silence, and nothing is heard here. */
  held: boolean;
  /** The far end holds it: it does not hear us, and there may be music. */
  heldByFarEnd: boolean;
  callId?: string;
  tag?: string;
  applicationName?: string;
  customerData?: CustomerData;
}

/** How a transfer gets on at the far end. */
export interface TransferEvent {
  /** What the one whom the far end calls answers, a SIP status: 180 it rings, 200 it is there. */
  status: number;
  /** Its phrase. */
  reason?: string;
  callId?: string;
  tag?: string;
  applicationName?: string;
  customerData?: CustomerData;
}

/** The call has become bad in one respect, or good again. */
export interface QualityEvent {
  /**
   * In which: round-trip time and jitter in milliseconds, loss in percent, mean opinion score; for how many seconds nothing
   * has come from the microphone, or from the far end.
   */
  measure: 'roundTripTime' | 'jitter' | 'loss' | 'mos' | 'microphone' | 'packets';
  /** Whether it is bad now. */
  bad: boolean;
  /** What was measured, in the measure's unit. */
  value: number;
  /** From where on it counts as bad. */
  threshold: number;
  callId?: string;
  tag?: string;
  applicationName?: string;
  customerData?: CustomerData;
}

export interface ReconnectingEvent {
  attempt: number;
  delayMs: number;
}

export interface LanguageEvent {
  language: string;
}

export interface LogEvent {
  level: 'debug' | 'info' | 'warn' | 'error';
  message: string;
  context?: Record<string, unknown>;
  error?: string;
}

/** The microphone of a call was unplugged or taken away, or another took its place. */
export interface MicrophoneEvent {
  state: 'lost' | 'replaced';
  /** Why there is no other, as a word for programs; see `microphoneHelp` of `@codex/web-widget/help`. */
  code?: string;
}

/** The events of a client by name. */
export interface ClientEvents {
  registration: RegistrationEvent;
  call: CallStateEvent;
  incomingCall: IncomingCallEvent;
  metrics: MetricsEvent;
  ice: IceEvent;
  dtmf: DtmfEvent;
  hold: HoldEvent;
  transfer: TransferEvent;
  quality: QualityEvent;
  microphone: MicrophoneEvent;
  reconnecting: ReconnectingEvent;
  language: LanguageEvent;
  log: LogEvent;
  /** The configuration is wrong, or the core could not be loaded. Comes once; every method rejects with the same. */
  error: import('./error.js').CodexError;
}
