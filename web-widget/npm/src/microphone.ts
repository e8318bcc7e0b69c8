// The microphone, and which of the things that can be wrong with it is.

import { CodexError } from './error.js';

/** Opens the microphone; an error's `code` says what is wrong, and `help.ts` what the visitor can do. */
export async function microphone(device: string | undefined): Promise<MediaStream> {
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
        ? !allowedByPolicy()
          ? ['microphone_policy', 'the page may not use the microphone: its Permissions-Policy, or the frame, forbids it']
          : /system/i.test(message)
            ? ['microphone_system', 'the operating system does not give the browser the microphone']
            : ['microphone_denied', 'the visitor did not allow the microphone']
        : name === 'NotFoundError' || name === 'OverconstrainedError'
          ? ['microphone_none', 'there is no microphone']
          : name === 'NotReadableError' || name === 'AbortError'
            ? ['microphone_in_use', 'the microphone is in use elsewhere, or broken']
            : ['microphone', `the microphone cannot be used: ${message}`];
    throw new CodexError(code as string, problem as string, error);
  }
}

/** Whether the visitor has allowed it before; browsers then show all their addresses. */
export async function microphoneGranted(): Promise<boolean> {
  try {
    const permission = await navigator.permissions.query({ name: 'microphone' as PermissionName });
    return permission.state === 'granted';
  } catch {
    return false;
  }
}

function allowedByPolicy(): boolean {
  const policy = (document as { featurePolicy?: { allowsFeature(name: string): boolean } }).featurePolicy;
  return policy?.allowsFeature('microphone') ?? true;
}
