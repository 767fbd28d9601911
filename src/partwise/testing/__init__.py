"""For tests of what is built on partwise, or for it: a storage in memory, and the contract of object stores.

``object_store.ObjectStoreContract`` needs pytest.
"""
