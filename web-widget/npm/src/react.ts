// The element for React 18 and 19. Nothing here touches `window` before the page is there.

import { createElement, useEffect, useMemo, useRef, useState } from 'react';
import type { ReactElement } from 'react';
import { createClient } from '@codex/web-widget';
import type { CodexSipClient } from './client.js';
import type { CodexError } from './error.js';
import type { CodexVoiceWidget, Labels, LanguageChoice } from './element.js';
import type {
  CallState,
  CallStateEvent,
  EnvConfig,
  IncomingCallEvent,
  MetricsEvent,
  RegistrationEvent,
  TokenEnvConfig,
} from './types.js';

export interface VoiceChatWidgetProps {
  /** The page's client; it is not destroyed with the component. */
  client: CodexSipClient | null | undefined;
  /** The system's unless set. */
  theme?: 'light' | 'dark';
  locale?: 'en' | 'ru';
  /** Texts in place of the element's own. */
  labels?: Partial<Labels>;
  /** Shown under the button if it is there; the element's own words if it is empty. */
  consent?: string;
}

export interface FloatingVoiceWidgetProps extends VoiceChatWidgetProps {
  languages?: LanguageChoice[];
  position?: 'bottom-right' | 'bottom-left' | 'top-right' | 'top-left';
  /** Registers as soon as the page is there. */
  autoRegister?: boolean;
}

/** A button in a corner of the page, and the card that it opens. */
export function FloatingVoiceWidget({ position = 'bottom-right', autoRegister, ...props }: FloatingVoiceWidgetProps): ReactElement {
  return useWidget('floating', { ...props, position, autoRegister });
}

/** The card where it stands. */
export function VoiceChatWidget(props: VoiceChatWidgetProps): ReactElement {
  return useWidget('card', props);
}

function useWidget(
  variant: string,
  { client, languages, labels, autoRegister, ...given }: Omit<FloatingVoiceWidgetProps, 'autoRegister'> & { autoRegister?: boolean | undefined },
): ReactElement {
  const element = useRef<CodexVoiceWidget>(null);
  const [defined, setDefined] = useState(false);
  useEffect(() => {
    let here = true;
    void import('@codex/web-widget/element').then(() => here && setDefined(true));
    return () => {
      here = false;
    };
  }, []);
  useEffect(() => {
    const widget = element.current;
    if (!defined || !widget) return;
    widget.labels = labels;
    widget.languages = languages;
    widget.client = client;
  }, [defined, client, labels, languages]);
  useEffect(() => {
    // What is wrong comes as the client's own event.
    if (autoRegister) client?.register().catch(() => {});
  }, [client, autoRegister]);
  return createElement('codex-voice-widget', { ref: element, variant, ...given });
}

export interface VoiceClient {
  /** `null` on a server and in the first render. */
  client: CodexSipClient | null;
  state: CallState;
  /** The last event of each kind. */
  call: CallStateEvent | undefined;
  registration: RegistrationEvent | undefined;
  incoming: IncomingCallEvent | undefined;
  metrics: MetricsEvent | undefined;
  error: CodexError | undefined;
}

const NOTHING: Omit<VoiceClient, 'client'> = {
  state: 'idle',
  call: undefined,
  registration: undefined,
  incoming: undefined,
  metrics: undefined,
  error: undefined,
};

/**
 * A client for as long as the component is there, and what it tells. Another configuration, by what is in it, makes
 * another client.
 */
export function useVoiceClient(config: EnvConfig | TokenEnvConfig): VoiceClient {
  const key = JSON.stringify(config);
  const settings = useMemo(() => JSON.parse(key) as EnvConfig, [key]);
  const [told, setTold] = useState<VoiceClient>({ client: null, ...NOTHING });
  useEffect(() => {
    const client = createClient(settings);
    const tell = (news: Partial<VoiceClient>): void => setTold((before) => ({ ...before, ...news }));
    setTold({ client, ...NOTHING });
    client
      .on('call', (call) => tell(call.state === 'idle' ? { call, state: 'idle', incoming: undefined } : { call, state: call.state }))
      .on('registration', (registration) => tell({ registration }))
      .on('incomingCall', (incoming) => tell({ incoming }))
      .on('metrics', (metrics) => tell({ metrics }))
      .on('error', (error) => tell({ error }));
    return () => void client.destroy().catch(() => {});
  }, [settings]);
  return told;
}
