// @codex/web-widget: a voice call from a web page, with who is calling and why.

export { CodexSipClient, createClient } from './client.js';
export { CodexError } from './error.js';
export { JambonzApiClient } from './jambonz-api.js';
export type { JambonzApiConfig, JambonzApplication } from './jambonz-api.js';
export { configureWasm } from './wasm-source.js';
export type { WasmSource } from './wasm-source.js';
export type {
  AcceptCallOptions,
  CallState,
  CallStateEvent,
  ClientEvents,
  CustomerData,
  DtmfEvent,
  EnvConfig,
  EnvSettings,
  HoldEvent,
  IceEvent,
  IncomingCallEvent,
  LanguageEvent,
  LogEvent,
  MetricsEvent,
  MicrophoneEvent,
  QualityEvent,
  ReconnectingEvent,
  RegistrationEvent,
  SipClientConfig,
  SipSettings,
  StartCallOptions,
  TokenEnvConfig,
  TokenSipClientConfig,
  TransferEvent,
} from './types.js';
