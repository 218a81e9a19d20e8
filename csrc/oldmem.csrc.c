#include "oldmem.h"
