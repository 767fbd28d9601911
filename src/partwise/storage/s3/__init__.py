"""S3-compatible stores: AWS, SeaweedFS, MinIO, Ceph and others."""
