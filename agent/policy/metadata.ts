// The metadata of an object: only its types are checked, and that it has a name.
import { anything, integer, list, map, object, text, type Shape } from './check.ts';

export const metadata: Shape = object('metadata', {
  name: text('name'), generateName: text('generateName'), namespace: text('namespace'),
  labels: map('labels', text('a label value')), annotations: map('annotations', text('an annotation')),
  uid: text('uid'), resourceVersion: text('resourceVersion'), selfLink: text('selfLink'),
  generation: integer('generation', 0, Number.MAX_SAFE_INTEGER),
  creationTimestamp: anything, deletionTimestamp: anything, deletionGracePeriodSeconds: anything,
  finalizers: list('finalizers', text('a finalizer')), ownerReferences: anything, managedFields: anything,
}, { hints: { endpointSelector: 'it stands under spec' } });

