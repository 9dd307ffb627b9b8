// Certificates of `terminatingTLS`: a Secret's manifest -> what Envoy gets over SDS. Values are never printed.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { messageOf } from '../errors.ts';
import type { L7Rules } from '../policy/image.ts';
import type { Message } from './messages.ts';

export type SecretRef = NonNullable<L7Rules['terminatingTls']>;

export const secretName = ({ namespace, name, certificate, privateKey }: SecretRef): string => `${namespace}/${name} ${certificate} ${privateKey}`;
/** Key of the manifest. */
export const secretKey = ({ namespace, name }: SecretRef): string => `Secret/${namespace}/${name}`;

const base64 = /^[A-Za-z0-9+/\s]*={0,2}\s*$/;

function itemOf(object: Message, item: string): Buffer | undefined {
  const data = (object['data'] as Record<string, unknown> | undefined)?.[item];
  const text = (object['stringData'] as Record<string, unknown> | undefined)?.[item];
  if (typeof text === 'string') return Buffer.from(text);
  return typeof data === 'string' && base64.test(data) ? Buffer.from(data, 'base64') : undefined;
}

/** The rest (the size of keys) is Envoy's to refuse. */
function pairProblem(ref: SecretRef, certificate: Buffer, key: Buffer): string | undefined {
  let item = ref.certificate;
  try {
    const leaf = new X509Certificate(certificate);
    item = ref.privateKey;
    return leaf.checkPrivateKey(createPrivateKey(key)) ? undefined : `${ref.privateKey} is not the key of ${ref.certificate}`;
  } catch (error) {
    return `${item} is not in PEM: ${messageOf(error)}`;
  }
}

/** A sentence when it cannot be had. */
export function secretMessage(ref: SecretRef, object: Message | undefined): Message | string {
  if (object === undefined) return `Secret ${ref.namespace}/${ref.name} does not exist`;
  const [certificate, key] = [itemOf(object, ref.certificate), itemOf(object, ref.privateKey)];
  if (certificate === undefined) return `Secret ${ref.namespace}/${ref.name} has no item ${ref.certificate}`;
  if (key === undefined) return `Secret ${ref.namespace}/${ref.name} has no item ${ref.privateKey}`;
  const problem = pairProblem(ref, certificate, key);
  if (problem !== undefined) return `Secret ${ref.namespace}/${ref.name}: ${problem}`;
  return { name: secretName(ref), tls_certificate: { certificate_chain: { inline_bytes: certificate }, private_key: { inline_bytes: key } } };
}
