"""What every HTTP call needs: endpoints, bodies, errors, keys, limits, metrics and the OpenAPI document."""
