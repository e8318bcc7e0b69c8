// Attributes and what they mean. Secrets are properties only: a page's markup is copied, cached and logged.

import type { EnvConfig, TokenEnvConfig } from '../types.js';

/** Attributes that are keys of `createClient`. */
export const SETTINGS: Record<string, string> = {
  'sip-domain': 'JAMBONZ_SIP_DOMAIN',
  'wss-address': 'JAMBONZ_WSS_ADDRESS',
  'sip-username': 'JAMBONZ_SIP_USERNAME',
  'token-url': 'TOKEN_URL',
  'target-uri': 'TARGET_SIP_URI',
  'application-name': 'TARGET_APPLICATION_NAME',
  'language': 'DEFAULT_LANG',
  'fallback-language': 'FALLBACK_LANG',
  'stun-urls': 'STUN_URLS',
  'turn-urls': 'TURN_URLS',
  'turn-username': 'TURN_USERNAME',
  'ice-transport-policy': 'ICE_TRANSPORT_POLICY',
  'max-register-retries': 'MAX_REGISTER_RETRIES',
  'infinite-reconnect': 'INFINITE_RECONNECT',
  'keep-alive-interval': 'KEEP_ALIVE_INTERVAL',
  'customer-data': 'CUSTOMER_DATA',
  'user-to-user-encoding': 'USER_TO_USER_ENCODING',
};

/** Attributes of the view that hold text. */
export const VIEW = ['locale', 'theme', 'position', 'variant', 'labels', 'languages', 'consent', 'consent-url'];

/** Attributes that are there or not. */
export const FLAGS = ['auto-register', 'incoming', 'open'];

export interface LanguageChoice {
  code: string;
  label: string;
  flag?: string;
}

/** What a page may set as properties; each attribute is one too, in camel case. */
export interface VoiceWidgetSettings {
  sipDomain: string | null;
  wssAddress: string | null;
  sipUsername: string | null;
  tokenUrl: string | null;
  targetUri: string | null;
  applicationName: string | null;
  fallbackLanguage: string | null;
  stunUrls: string | null;
  turnUrls: string | null;
  turnUsername: string | null;
  iceTransportPolicy: string | null;
  maxRegisterRetries: string | null;
  infiniteReconnect: string | null;
  keepAliveInterval: string | null;
  userToUserEncoding: string | null;
  locale: string | null;
  theme: string | null;
  position: string | null;
  variant: string | null;
  consent: string | null;
  consentUrl: string | null;
  autoRegister: boolean;
  incoming: boolean;
  open: boolean;
}

export function camelCase(name: string): string {
  return name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase());
}

/** The attributes' properties. */
export const REFLECTED = [...Object.keys(SETTINGS), ...VIEW, ...FLAGS].map(camelCase);

/** Properties that only hand on to their attribute. `language`, `labels`, `languages` and `customerData` have their own. */
export function reflect(prototype: HTMLElement): void {
  for (const name of [...Object.keys(SETTINGS), ...VIEW, ...FLAGS]) {
    const property = camelCase(name);
    if (property in prototype) continue;
    const flag = FLAGS.includes(name);
    Object.defineProperty(prototype, property, {
      configurable: true,
      enumerable: true,
      get(this: HTMLElement) {
        return flag ? this.hasAttribute(name) : this.getAttribute(name);
      },
      set(this: HTMLElement, value: unknown) {
        if (flag) this.toggleAttribute(name, Boolean(value));
        else if (value === null || value === undefined) this.removeAttribute(name);
        else this.setAttribute(name, String(value));
      },
    });
  }
}

/** What `createClient` is given. */
export function configOf(element: HTMLElement, given: object | undefined, secrets: object): EnvConfig | TokenEnvConfig {
  const config: Record<string, unknown> = { ...given };
  for (const [attribute, key] of Object.entries(SETTINGS)) {
    const value = element.getAttribute(attribute);
    if (value !== null) config[key] = value;
  }
  return { ...config, ...secrets } as unknown as EnvConfig;
}

/** A list of languages: JSON, or codes separated by commas. */
export function languagesIn(text: string | null, names: Record<string, string>): LanguageChoice[] {
  let given: unknown = text ?? 'ru,en';
  if (text?.trim().startsWith('[')) given = parsed('languages', text);
  if (typeof given === 'string') given = given.split(/[\s,]+/);
  if (!Array.isArray(given)) return [];
  return given.flatMap((one: unknown) => {
    const { code, label, flag } = (typeof one === 'string' ? { code: one } : one) as Partial<LanguageChoice>;
    return code ? [{ code, label: label ?? names[code] ?? code, ...(flag ? { flag } : {}) }] : [];
  });
}

/** JSON of an attribute; what is none is told on the console and let be. */
export function parsed(name: string, text: string | null): unknown {
  if (!text) return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    console.warn(`<codex-voice-widget ${name}>: ${String(error)}`);
    return undefined;
  }
}
