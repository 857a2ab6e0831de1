SELECT id, namespace, name, version, path FROM templates ORDER BY namespace, name, version, registered_at DESC, id DESC
