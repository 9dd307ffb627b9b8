// What `verdict` and `explain` say of one flow: both of its ends in one answer, the same from files and from a running agent.
import type { Place } from './check.ts';
import type { Explanation } from './explain.ts';
import { formatPolicy, formatRule } from './explain-text.ts';
import { protocolName } from './icmp.ts';
import { isRefused, redirectWords, rulesFor } from './l7-text.ts';

export interface Answer {
  /** Redirected: allowed to go to Envoy, which judges each request. */
  readonly verdict: 'allowed' | 'denied' | 'redirected';
  readonly text: string;
  readonly sides: readonly Explanation[];
  /** In words, where a Service was asked for: its backends are judged. */
  readonly service?: string;
  /** The policies that would allow it, one for each end that denies by default; empty when none would. */
  readonly yaml: string;
}

export function answerOf(sides: readonly Explanation[], service?: string): Answer {
  const denied = sides.filter(({ verdict, redirect }) => verdict === 'deny' || verdict === 'default-deny' || isRefused(redirect));
  const open = sides.some(({ redirect }) => redirect !== undefined && redirect.answer === undefined);
  const mendable = denied.every(({ suggestion }) => suggestion !== undefined);
  return {
    verdict: denied.length > 0 ? 'denied' : open ? 'redirected' : 'allowed', sides, ...(service === undefined ? {} : { service }),
    text: [...(service === undefined ? [] : [`${service}: judged at its backends`]), ...sides.map(({ text }) => text)].join('\n\n'),
    yaml: mendable ? denied.map(({ suggestion }) => suggestion!.yaml).join('---\n') : '',
  };
}

export interface SideVerdict {
  readonly direction: string;
  readonly endpoint: string;
  readonly peer: string;
  readonly verdict: Explanation['verdict'] | 'redirect';
  /** Of a redirect. */
  readonly words?: string;
  /** The rules that decided; of a default deny the policies that switch it on. */
  readonly by: readonly (Partial<Place> & { readonly kind: string; readonly namespace: string; readonly name: string; readonly path: string })[];
}

export function verdictsOf({ sides }: Answer): SideVerdict[] {
  return sides.map(({ direction, subject, peer, verdict, decidedBy, policies, rules, redirect }) => {
    const by = verdict === 'default-deny'
      ? policies.filter(({ defaultDeny }) => defaultDeny).map(({ policy, path, source }) => ({ ...policy, path, ...source }))
      : (redirect === undefined ? decidedBy : rulesFor(redirect)).map((rule) => ({ ...rule.policy, path: rule.path, ...rules.find((reason) => reason.rule === rule)?.source }));
    const end = { direction, endpoint: subject.name, peer: peer.name };
    return redirect === undefined ? { ...end, verdict, by } : { ...end, verdict: 'redirect' as const, words: redirectWords(redirect), by };
  });
}

const WORDS = { none: 'allowed, no policy covers it', allow: 'allowed', deny: 'denied by a deny rule', 'default-deny': 'denied by default, no rule allows it' };

/** A line for the flow and one for each end. */
export function verdictText(answer: Answer, verdicts: readonly SideVerdict[]): string {
  const { direction, subject, peer, port, protocol } = answer.sides[0]!;
  const [from, to] = direction === 'ingress' ? [peer, subject] : [subject, peer];
  const far = (side: SideVerdict): string => (answer.service === undefined ? '' : ` ${side.direction === 'egress' ? 'to' : 'from'} ${side.peer}`);
  const lines = verdicts.flatMap((side) => [`  ${side.direction} of ${side.endpoint}${far(side)}: ${side.verdict === 'redirect' ? side.words! : WORDS[side.verdict]}`, ...side.by.map((one) => {
    const ref = { policy: one, path: one.path, action: 'allow' as const };
    const name = side.verdict === 'default-deny' ? `${formatPolicy(one)} ${one.path}, which selects it` : formatRule(ref);
    return `    ${name}${one.file === undefined ? '' : ` (${one.file}:${one.line})`}`;
  })]);
  const asked = answer.service ?? `${to.name} ${port}/${protocolName(protocol)}`;
  return [`${from.name} -> ${asked}: ${answer.verdict}`, ...lines].join('\n');
}
