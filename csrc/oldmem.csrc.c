/* SPDX-License-Identifier: MIT */
#include "oldmem.h"
