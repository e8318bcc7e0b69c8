// A site with React, the same on the server and in the page.
import { createElement, useState } from 'react';
import { FloatingVoiceWidget, VoiceChatWidget, useVoiceClient } from '@codex/web-widget/react';

const languages = [{ code: 'ru', label: 'Русский', flag: '🇷🇺' }, { code: 'en', label: 'English' }];

export function App({ config }) {
  const voice = useVoiceClient(config);
  const [card, setCard] = useState(false);
  if (typeof window !== 'undefined') Object.assign(window, { voice, setCard });
  return createElement(
    'main',
    null,
    createElement('h1', null, 'A site'),
    createElement('p', { id: 'state' }, voice.state),
    createElement(FloatingVoiceWidget, {
      client: voice.client, languages, locale: 'en', theme: 'dark', position: 'bottom-left', autoRegister: false,
    }),
    card ? createElement(VoiceChatWidget, { client: voice.client, locale: 'ru', theme: 'light' }) : null,
  );
}

export const CONFIG = {
  JAMBONZ_SIP_DOMAIN: 'sip.example.test',
  JAMBONZ_WSS_ADDRESS: 'wss://127.0.0.1:8443',
  JAMBONZ_SIP_USERNAME: '170',
  JAMBONZ_SIP_PASSWORD: 'secret',
  TARGET_SIP_URI: 'sip:3f2b8c1e-7d4a-4e9b-9a61-0c5d2e8f1a77@sip.example.test',
  TARGET_APPLICATION_NAME: 'voicebot',
};
