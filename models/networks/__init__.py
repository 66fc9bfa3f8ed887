"""The networks that come with Celosia, by name: :func:`celosia.models.networks.catalogue.build`."""
