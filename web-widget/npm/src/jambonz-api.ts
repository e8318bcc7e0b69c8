// Names of applications from jambonz' REST API, for pages that may hold an API key: those of your own staff.

import { CodexError } from './error.js';
import { application_in, load } from './wasm.js';

/** How long an answer is kept, in milliseconds. */
const KEPT_MS = 300_000;

export interface JambonzApiConfig {
  /** Such as `https://api.example.com/v1`. */
  apiBaseUrl: string;
  /** Whoever sees the page sees it: never in a page for the public. */
  apiKey: string;
  accountSid: string;
}

export interface JambonzApplication {
  application_sid: string;
  name: string;
  [member: string]: unknown;
}

/**
 * jambonz' REST API. Its limit of 600 requests in 5 minutes is shared by the whole system, and its key opens the account:
 * for pages that only people you trust can open. Other pages get the name from their configuration.
 */
export class JambonzApiClient {
  readonly #config: JambonzApiConfig;
  #kept: { at: number; applications: Promise<JambonzApplication[]> } | undefined;

  constructor(config: JambonzApiConfig) {
    this.#config = { ...config, apiBaseUrl: config.apiBaseUrl.replace(/\/+$/, '') };
  }

  /** All applications of the account. */
  getApplications(useCache = true): Promise<JambonzApplication[]> {
    const now = performance.now();
    if (useCache && this.#kept && now - this.#kept.at < KEPT_MS) return this.#kept.applications;
    const applications = this.#get<JambonzApplication[]>(
      `/Accounts/${encodeURIComponent(this.#config.accountSid)}/Applications`,
    );
    const kept = { at: now, applications };
    this.#kept = kept;
    applications.catch(() => {
      if (this.#kept === kept) this.#kept = undefined;
    });
    return applications;
  }

  getApplication(sid: string): Promise<JambonzApplication> {
    return this.#get(`/Applications/${encodeURIComponent(sid)}`);
  }

  /** `undefined` if there is none with this GUID. */
  getApplicationName(sid: string): Promise<string | undefined> {
    return this.getApplicationNameFromUri(sid);
  }

  /** `undefined` if the URI names no application, or one that is not there. */
  async getApplicationNameFromUri(uri: string): Promise<string | undefined> {
    await load();
    const sid = application_in(uri);
    if (sid === undefined) return undefined;
    return (await this.getApplications()).find((one) => application_in(one.application_sid) === sid)?.name;
  }

  getCall(callSid: string): Promise<Record<string, unknown>> {
    return this.#get(
      `/Accounts/${encodeURIComponent(this.#config.accountSid)}/Calls/${encodeURIComponent(callSid)}`,
    );
  }

  /** Gives a call that lasts the data that its later status events carry as `customerData`; replaces what it carried. */
  async updateCallMetadata(callSid: string, data: object): Promise<void> {
    const path = `/Accounts/${encodeURIComponent(this.#config.accountSid)}/Calls/${encodeURIComponent(callSid)}`;
    await this.#send('PUT', path, JSON.stringify({ tag: data }));
  }

  /**
   * Always rejects. The older packages set `custom_headers` of an application's hooks here, which jambonz does not have;
   * customer data reaches the hooks by itself. To point hooks elsewhere: `update_application_hooks` of `codex-jambonz-api`.
   */
  updateApplicationWebhooks(_sid: string): Promise<never> {
    return Promise.reject(new CodexError('not_supported', 'jambonz has no custom_headers of hooks; none are needed'));
  }

  getPhoneNumbers(): Promise<Record<string, unknown>[]> {
    return this.#get('/PhoneNumbers');
  }

  clearCache(): void {
    this.#kept = undefined;
  }

  async #get<T>(path: string): Promise<T> {
    return (await (await this.#send('GET', path)).json()) as T;
  }

  async #send(method: string, path: string, body: string | null = null): Promise<Response> {
    const headers: Record<string, string> = { Authorization: `Bearer ${this.#config.apiKey}` };
    if (body !== null) headers['Content-Type'] = 'application/json';
    let response: Response;
    try {
      response = await fetch(this.#config.apiBaseUrl + path, {
        method,
        headers,
        body,
        credentials: 'omit',
        referrerPolicy: 'no-referrer',
      });
    } catch (error) {
      throw new CodexError('connect', `jambonz' API could not be reached at ${this.#config.apiBaseUrl}`, error);
    }
    if (!response.ok) throw new CodexError('jambonz_api', `jambonz' API answered ${response.status} to ${method} ${path}`);
    return response;
  }
}
