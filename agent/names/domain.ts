// The domain of the cluster, below which its names stand.

export const clusterDomain = 'cluster.local';
