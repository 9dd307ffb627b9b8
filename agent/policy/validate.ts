// One policy object in, everything that is wrong with it out; an object without errors is safe for rules.ts.
import { fail, formatPath, isAbsent, isObject, type Path, type Problem, type Report } from './check.ts';
import { CIDR_GROUP, cidrGroup } from './cidr-group.ts';
import { networkPolicy } from './network-policy-schema.ts';
import { ciliumPolicy } from './schema.ts';
import { checkSpec } from './semantics.ts';
import { unsupportedIn, type Unsupported } from './unsupported.ts';

export { formatPath, type Problem } from './check.ts';
export type { Unsupported } from './unsupported.ts';

export interface Validation {
  /** No error among the problems. */
  readonly valid: boolean;
  readonly problems: readonly Problem[];
  /** Valid, but not enforced yet: the policy must be refused as a whole. Empty for invalid objects. */
  readonly unsupported: readonly Unsupported[];
}

const API_VERSIONS: Readonly<Record<string, string>> = {
  CiliumNetworkPolicy: 'cilium.io/v2',
  CiliumClusterwideNetworkPolicy: 'cilium.io/v2',
  NetworkPolicy: 'networking.k8s.io/v1',
};

/** What is no policy but is part of some: checked like them. */
export const isPolicyPart = (kind: unknown): boolean => kind === CIDR_GROUP;

/** By kind alone: a wrong apiVersion of a known kind is an error, not another kind. */
export const isPolicyKind = (kind: unknown): boolean => typeof kind === 'string' && Object.hasOwn(API_VERSIONS, kind);

export function check(object: unknown): Validation {
  const problems: Problem[] = [];
  const report: Report = (problem) => { problems.push(problem); };
  if (isObject(object) && isPolicyPart(object['kind'])) {
    cidrGroup(object, [], report);
    checkMetadata(object, report);
  } else if (!isObject(object) || !isPolicyKind(object['kind'])) {
    const kind = isObject(object) ? object['kind'] : undefined;
    fail(report, ['kind'], `kind must be one of ${Object.keys(API_VERSIONS).join(', ')}; found ${String(kind ?? 'nothing')}`);
  } else if (object['kind'] === 'NetworkPolicy') {
    networkPolicy(object, [], report);
    checkMetadata(object, report);
  } else {
    checkCiliumPolicy(object, report);
  }
  const valid = !problems.some((problem) => problem.severity === 'error');
  const unsupported = valid && isObject(object) && API_VERSIONS[String(object['kind'])] === 'cilium.io/v2' ? unsupportedIn(object) : [];
  return { valid, problems, unsupported };
}

function checkCiliumPolicy(object: Record<string, unknown>, report: Report): void {
  const broken: Path[] = [];
  ciliumPolicy(object, [], (problem) => {
    if (problem.severity === 'error') broken.push(problem.path);
    report(problem);
  });
  checkMetadata(object, report);
  const kind = String(object['kind']);
  if (isAbsent(object['spec']) && isAbsent(object['specs'])) {
    fail(report, [], 'a policy needs `spec` (one rule) or `specs` (a list)');
  }
  const specs: [Path, unknown][] = [[['spec'], object['spec']]];
  if (Array.isArray(object['specs'])) object['specs'].forEach((spec, index) => specs.push([['specs', index], spec]));
  for (const [path, spec] of specs) {
    const sound = !broken.some((at) => path.every((part, index) => at[index] === part));
    if (isObject(spec) && sound) checkSpec(spec, path, kind, report);
  }
}

function checkMetadata(object: Record<string, unknown>, report: Report): void {
  const metadata = isObject(object['metadata']) ? object['metadata'] : {};
  if (isAbsent(metadata['name']) || metadata['name'] === '') fail(report, ['metadata'], 'a policy needs a name', 'add metadata: {name: NAME}');
  const clusterwide = object['kind'] === 'CiliumClusterwideNetworkPolicy' || isPolicyPart(object['kind']);
  if (clusterwide && typeof metadata['namespace'] === 'string') {
    report({ path: ['metadata', 'namespace'], severity: 'warning', name: 'ignored-field', message: `a ${String(object['kind'])} has no namespace; it is ignored` });
  }
}

/** All errors of an object in one line. */
export const errorText = (problems: readonly Problem[]): string => problems
  .filter((problem) => problem.severity === 'error')
  .map(describe)
  .join('; ');

/** `spec.ingress[0]: message (mend)` */
export function describe(problem: Problem): string {
  const field = formatPath(problem.path);
  return `${field === '' ? '' : `${field}: `}${problem.message}${problem.mend === undefined ? '' : ` (${problem.mend})`}`;
}
