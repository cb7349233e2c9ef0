"""The store on Redis: single, Sentinel or Cluster."""
