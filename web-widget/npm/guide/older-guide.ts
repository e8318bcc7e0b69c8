// Code as people wrote it for the older packages, checked against the types that are shipped. It is never run: scenarios in
// a browser do that.

import { createClient, CustomerData, JambonzApiClient } from '@codex/web-widget';
import { CodexSipClient } from '@codex/core-sip';
import type { CallStateEvent, IncomingCallEvent, MetricsEvent, RegistrationEvent } from '@codex/web-widget';

declare const process: { env: Record<string, string | undefined> };

const customerData: CustomerData = {
  clientId: sessionStorage.getItem('userId') || 'anonymous',
  clientName: sessionStorage.getItem('userName') || 'Guest',
  callType: 'webcall',
  timestamp: new Date().toISOString(),
  userAgent: navigator.userAgent,
  sessionId: crypto.randomUUID(),
  location: { country: 'RU', city: 'Moscow' },
  customFields: { department: 'Отдел продаж', priority: 'high', referrer: document.referrer },
};

const config = {
  JAMBONZ_SIP_DOMAIN: process.env['JAMBONZ_SIP_DOMAIN']!,
  JAMBONZ_WSS_ADDRESS: process.env['JAMBONZ_WSS_ADDRESS']!,
  JAMBONZ_SIP_USERNAME: '170',
  JAMBONZ_SIP_PASSWORD: process.env['JAMBONZ_SIP_PASSWORD']!,
  TARGET_SIP_URI: 'sip:0397dc5f-2f8f-4778-8499-0af934dd1196@sip.example.com',
  TARGET_APPLICATION_NAME: 'voicebot',
  DEFAULT_LANG: 'ru',
  FALLBACK_LANG: 'en',
  STUN_URLS: 'stun:stun.example.com:19302',
};

export async function byKeys(): Promise<void> {
  const client = createClient({ ...config, CUSTOMER_DATA: JSON.stringify(customerData) });
  client.on('call', (event: CallStateEvent) => {
    console.log(`[${event.applicationName}] Call ${event.state}`, event.tag);
    if (event.customerData) console.log(`Customer: ${event.customerData.clientName}`);
  });
  client.on('incomingCall', (event: IncomingCallEvent) => console.log(event.displayFrom, event.customerData));
  client.on('metrics', (event: MetricsEvent) => console.log(event.rttMs, event.applicationName));
  const heard = (event: RegistrationEvent): void => console.log(event.state, event.attempt, event.reason);
  client.once('registration', heard);
  client.off('registration', heard);
  await client.register();
  await client.startCall({ language: 'ru' });
  await client.startCall({
    language: 'ru',
    customerData: { clientId: 'user', callType: 'webcall', timestamp: new Date().toISOString() },
    targetUri: 'sip:170@sip.example.com',
    extraHeaders: ['X-Department: sales'],
  });
  await client.startCall();
  await client.hangup('done');
}

export async function byNames(iceServers: RTCIceServer[], element: HTMLAudioElement): Promise<boolean> {
  const client = new CodexSipClient({
    domain: 'sip.example.com',
    wssServer: 'wss://sip.example.com:8443',
    username: '170',
    password: 'secret',
    targetUri: 'sip:170@sip.example.com',
    iceServers,
    defaultLanguage: 'ru',
    fallbackLanguage: 'en',
    maxRegisterRetries: 5,
    infiniteReconnect: true,
    keepAliveInterval: 30000,
    customerData: { clientId: 'user_12345', callType: 'webcall' },
    targetApplicationName: 'voicebot',
    extraHeaders: ['X-Department: sales'],
    onMetrics: (event) => console.log(event.bytesSent, event.bytesReceived, event.iceState),
    onLog: (event) => console.log(event.level, event.message, event.context, event.error),
  });
  client.on('ice', ({ state }) => console.log(state));
  client.on('dtmf', ({ tone }) => console.log(tone));
  client.on('reconnecting', ({ attempt, delayMs }) => console.log(attempt, delayMs));
  client.on('language', ({ language }) => console.log(language));
  client.on('log', ({ level, message }) => console.log(level, message));
  client.setRemoteAudioElement(element);
  await client.acceptIncomingCall({ language: 'ru' });
  await client.rejectIncomingCall('busy');
  await client.mute();
  await client.unmute();
  await client.setSpeakerMuted(true);
  await client.sendDtmf('5');
  client.setLanguage('en');
  const stream: MediaStream | null = client.getLocalMediaStream();
  console.log(client.state, client.language, stream);
  await client.unregister();
  await client.destroy();
  return client.checkConnection();
}

export async function names(): Promise<string | undefined> {
  const api = new JambonzApiClient({ apiBaseUrl: 'https://api.jambonz.example.com/v1', apiKey: 'k', accountSid: 'a' });
  const applications = await api.getApplications();
  console.log(applications[0]?.application_sid, applications[0]?.name);
  api.clearCache();
  const byUri = await api.getApplicationNameFromUri('sip:0397dc5f-2f8f-4778-8499-0af934dd1196@sip.example.com');
  return byUri ?? api.getApplicationName('0397dc5f-2f8f-4778-8499-0af934dd1196');
}

// What the types are to refuse.
export function wrong(client: CodexSipClient): void {
  // @ts-expect-error: callType is required
  void client.startCall({ customerData: { clientId: 'user' } });
  // @ts-expect-error: there is no such event
  client.on('calls', () => {});
  // @ts-expect-error: a key without which there is no client
  createClient({ JAMBONZ_SIP_DOMAIN: 'sip.example.com' });
}
